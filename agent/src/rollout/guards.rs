//! Guards: the PromQL queries of policies, that must hold before and while their sweeps run. Pure.
//!
//! In: answers, each with the time at which it was asked for. Out: whether all guards of a policy hold now, and whether
//! one has been silent for too long. Must never: take a guard for holding that did not say so lately.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::rules::Rules;
use crate::policy::Guard;

/// Between two questions of one guard. Prometheus scrapes every 15 to 60 s in most places: more often brings nothing.
pub const ASK_EVERY: Duration = Duration::from_secs(10);
/// An answer older than this is none: three questions in a row went unanswered.
pub(super) const MAX_AGE: Duration = Duration::from_secs(30);

/// What a query's result says of its guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It holds.
    Holds,
    /// It does not: why, in a few words.
    Fails(String),
    /// Nobody knows: why, in a few words.
    Unknown(String),
}

/// One guard of one policy. With another query it is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Name of the policy.
    pub policy: String,
    /// Name of the guard.
    pub guard: String,
    /// PromQL.
    pub query: String,
}

impl Question {
    fn of(policy: &str, guard: &Guard) -> Self {
        Self { policy: policy.to_owned(), guard: guard.name.clone(), query: guard.query.clone() }
    }

    /// As people know it.
    pub(super) fn name(&self) -> String {
        format!("guard {} of policy {}", self.guard, self.policy)
    }
}

/// What all guards of a policy together say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// All hold, and said so within [`MAX_AGE`].
    Hold,
    /// At least one was not heard yet.
    NotYet,
    /// One does not hold: which, and why.
    Fails(String, String),
    /// Of one nobody knows: which, and why.
    Unknown(String, String),
}

#[derive(Debug)]
struct Heard {
    asked_at: Duration,
    answer: Answer,
    /// When the last answer was asked for that said it holds.
    held_at: Option<Duration>,
}

/// The answers. Bounded by what is asked for: see [`Guards::forget_but`].
#[derive(Debug, Default)]
pub(super) struct Guards(BTreeMap<Question, Heard>);

impl Guards {
    /// An answer; one that was asked for before the last one changes nothing.
    pub(super) fn hear(&mut self, question: &Question, answer: Answer, asked_at: Duration) {
        let known = self.0.get(question);
        if known.is_some_and(|known| known.asked_at > asked_at) {
            return;
        }
        let before = known.and_then(|known| known.held_at);
        let held_at = if answer == Answer::Holds { Some(asked_at) } else { before };
        self.0.insert(question.clone(), Heard { asked_at, answer, held_at });
    }

    /// Answers to all other questions are out of date when they are asked again.
    pub(super) fn forget_but(&mut self, asked: &BTreeSet<Question>) {
        self.0.retain(|question, _| asked.contains(question));
    }

    /// How the guards of a policy stand: one that fails before one that is unknown.
    pub(super) fn standing(&self, policy: &str, rules: &Rules, now: Duration) -> Standing {
        let mut standing = Standing::Hold;
        for question in questions(policy, rules) {
            let Some(heard) = self.0.get(&question) else {
                standing = worse(standing, Standing::NotYet);
                continue;
            };
            let age = now.saturating_sub(heard.asked_at);
            let next = match &heard.answer {
                Answer::Fails(why) => Standing::Fails(question.name(), why.clone()),
                Answer::Unknown(why) => Standing::Unknown(question.name(), why.clone()),
                Answer::Holds if age > MAX_AGE => {
                    Standing::Unknown(question.name(), format!("no answer for {} s", age.as_secs()))
                }
                Answer::Holds => Standing::Hold,
            };
            standing = worse(standing, next);
        }
        standing
    }

    /// The first guard of a policy that was heard, and has not said for [`MAX_AGE`] that it holds: which, and why.
    pub(super) fn silent(&self, policy: &str, rules: &Rules, now: Duration) -> Option<(String, String)> {
        questions(policy, rules).find_map(|question| {
            let heard = self.0.get(&question)?;
            let lately = heard.held_at.is_some_and(|at| now <= at.saturating_add(MAX_AGE));
            let why = match &heard.answer {
                Answer::Holds => "no answer".to_owned(),
                Answer::Fails(why) | Answer::Unknown(why) => why.clone(),
            };
            (!lately).then(|| (question.name(), why))
        })
    }
}

/// All guards of a policy.
pub(super) fn questions<'a>(policy: &'a str, rules: &'a Rules) -> impl Iterator<Item = Question> + 'a {
    rules.guards.iter().map(move |guard| Question::of(policy, guard))
}

fn worse(one: Standing, other: Standing) -> Standing {
    let rank = |standing: &Standing| match standing {
        Standing::Hold => 0,
        Standing::NotYet => 1,
        Standing::Unknown(..) => 2,
        Standing::Fails(..) => 3,
    };
    if rank(&other) > rank(&one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Spec;

    fn rules(queries: &[(&str, &str)]) -> Rules {
        let guards: Vec<_> =
            queries.iter().map(|(name, query)| serde_json::json!({"name": name, "query": query})).collect();
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "select": {"namespaces": ["*"]}, "junk": [{"name": "a", "paths": ["/tmp/x"]}],
            "rollout": {"guards": guards},
        }))
        .unwrap();
        Rules::of(&spec, 1, None)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn heard(rules: &Rules, answers: &[Answer]) -> Guards {
        let mut guards = Guards::default();
        for (question, answer) in questions("p", rules).zip(answers) {
            guards.hear(&question, answer.clone(), at(0));
        }
        guards
    }

    #[test]
    fn without_guards_nothing_is_in_the_way() {
        assert_eq!(Guards::default().standing("p", &rules(&[]), at(0)), Standing::Hold);
    }

    #[test]
    fn all_must_hold_and_harm_comes_before_what_is_not_known() {
        let rules = rules(&[("a", "up"), ("b", "down")]);
        let (holds, fails, unknown) =
            (Answer::Holds, Answer::Fails("0".into()), Answer::Unknown("cut".into()));
        let standing = |answers: &[Answer]| heard(&rules, answers).standing("p", &rules, at(1));
        assert_eq!(standing(&[holds.clone(), holds.clone()]), Standing::Hold);
        assert_eq!(standing(std::slice::from_ref(&holds)), Standing::NotYet);
        let cut = Standing::Unknown("guard b of policy p".into(), "cut".into());
        assert_eq!(standing(&[holds.clone(), unknown.clone()]), cut);
        let failed = Standing::Fails("guard b of policy p".into(), "0".into());
        assert_eq!(standing(&[unknown, fails.clone()]), failed);
        assert!(matches!(standing(&[fails]), Standing::Fails(..)), "whatever the other will say");
    }

    #[test]
    fn an_old_answer_is_none() {
        let rules = rules(&[("a", "up")]);
        let guards = heard(&rules, &[Answer::Holds]);
        assert_eq!(guards.standing("p", &rules, MAX_AGE), Standing::Hold);
        assert!(matches!(guards.standing("p", &rules, MAX_AGE + at(1)), Standing::Unknown(..)));
    }

    #[test]
    fn another_query_is_another_guard() {
        let guards = heard(&rules(&[("a", "up")]), &[Answer::Holds]);
        assert_eq!(guards.standing("p", &rules(&[("a", "down")]), at(0)), Standing::NotYet);
        assert_eq!(guards.standing("q", &rules(&[("a", "up")]), at(0)), Standing::NotYet);
    }

    #[test]
    fn a_guard_is_silent_when_it_has_not_held_for_long_and_not_at_one_lost_answer() {
        let rules = rules(&[("a", "up")]);
        let mut guards = heard(&rules, &[Answer::Holds]);
        let question = questions("p", &rules).next().unwrap();
        guards.hear(&question, Answer::Unknown("cut".into()), at(10));
        assert_eq!(guards.silent("p", &rules, MAX_AGE), None);
        let silent = guards.silent("p", &rules, MAX_AGE + at(1)).unwrap();
        assert_eq!(silent, ("guard a of policy p".into(), "cut".into()));
        guards.hear(&question, Answer::Holds, at(40));
        assert_eq!(guards.silent("p", &rules, at(60)), None);
    }

    #[test]
    fn an_answer_that_comes_late_does_not_undo_a_newer_one() {
        let rules = rules(&[("a", "up")]);
        let mut guards = heard(&rules, &[Answer::Holds]);
        let question = questions("p", &rules).next().unwrap();
        guards.hear(&question, Answer::Fails("0".into()), at(20));
        guards.hear(&question, Answer::Holds, at(10));
        assert!(matches!(guards.standing("p", &rules, at(20)), Standing::Fails(..)));
    }

    #[test]
    fn what_is_asked_no_more_is_forgotten() {
        let rules = rules(&[("a", "up")]);
        let mut guards = heard(&rules, &[Answer::Holds]);
        guards.forget_but(&BTreeSet::new());
        assert_eq!(guards.standing("p", &rules, at(1)), Standing::NotYet);
    }
}
