//! Who was asked, in which order, what each said, and whose word decided. Plain data; pure.

use serde::{Deserialize, Serialize};

use super::Refusal;

/// One question, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// 0 built in, 1 node config, 2 namespace, 3 pod, 4 policy, 5 entry limits, 6 breakers, 7 admission.
    pub level: u8,
    /// What was asked.
    pub question: String,
    /// What was said.
    pub answer: String,
    /// The word of a no, as metrics, history and journal have it.
    pub reason: Option<String>,
    /// This answer decides.
    pub deciding: bool,
}

/// The chain so far.
#[derive(Debug, Default)]
pub struct Chain {
    steps: Vec<Step>,
}

/// Somebody said no: it is on the chain, and nobody is asked after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct No;

impl Chain {
    /// An answer after which the next one is asked. Its place on the chain.
    pub fn goes_on(&mut self, level: u8, question: impl Into<String>, answer: impl Into<String>) -> usize {
        self.steps.push(Step {
            level,
            question: question.into(),
            answer: answer.into(),
            reason: None,
            deciding: false,
        });
        self.steps.len() - 1
    }

    /// A no that may yet be overruled by somebody who is asked later. Its place on the chain.
    pub fn objects(
        &mut self,
        level: u8,
        question: impl Into<String>,
        reason: impl Into<String>,
        answer: impl Into<String>,
    ) -> usize {
        let place = self.goes_on(level, question, answer);
        self.steps[place].reason = Some(reason.into());
        place
    }

    /// A no that stands.
    pub fn decides(
        &mut self,
        level: u8,
        question: impl Into<String>,
        reason: impl Into<String>,
        answer: impl Into<String>,
    ) -> No {
        let place = self.objects(level, question, reason, answer);
        self.decided_at(place)
    }

    /// One of those who have the right to refuse a sweep. `well`: what is shown where they do not.
    pub fn hear(
        &mut self,
        level: u8,
        question: &str,
        well: &str,
        said: Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        match &said {
            Ok(()) => {
                self.goes_on(level, question, well);
            }
            Err(Refusal { level, reason, message }) => {
                self.decides(*level, question, reason, message);
            }
        }
        said
    }

    /// What was said at this place decides.
    pub fn decided_at(&mut self, place: usize) -> No {
        if let Some(step) = self.steps.get_mut(place) {
            step.deciding = true;
        }
        No
    }

    /// Adds what was asked elsewhere.
    pub fn append(&mut self, steps: impl IntoIterator<Item = Step>) -> Result<(), No> {
        for step in steps {
            let decides = step.deciding;
            self.steps.push(step);
            if decides {
                return Err(No);
            }
        }
        Ok(())
    }

    /// All steps.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}
