//! Which Event is written, and when. Pure: time comes in as an argument.
//!
//! The first of a kind for a pod is written at once; those that follow while it is to be quiet are counted, and written
//! as one change of the series when that is over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::object::{Kind, PodEvent, PodReference, cut};

/// Series that are remembered: a kubelet has 500 pods at most, mostly 110, and few of them are swept within ten minutes.
const MAX_SERIES: usize = 1024;

/// Longest part of a pod's name in that of an Event, bytes: names of objects have 253, a ULID and a dot have 27.
const MAX_POD_NAME: usize = 200;

/// There are as many series as may be, and none of them is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// Name of the object.
    pub(super) name: String,
    /// How often by now; 1: to be made.
    pub(super) count: u32,
    /// What happened last.
    pub(super) event: PodEvent,
}

impl Write {
    /// Whether it changes an object that is there.
    pub(super) fn is_series(&self) -> bool {
        self.count > 1
    }

    fn key(&self) -> Key {
        (self.event.pod.clone(), self.event.kind)
    }
}

type Key = (PodReference, Kind);

#[derive(Debug)]
struct Series {
    write: Write,
    /// How often as last written.
    written: u32,
    quiet_until: Duration,
}

/// All series.
#[derive(Debug)]
pub(super) struct Book {
    quiet: Duration,
    series: BTreeMap<Key, Series>,
}

impl Book {
    /// `quiet`: from one write of a kind for a pod to the next.
    pub(super) fn new(quiet: Duration) -> Self {
        Self { quiet, series: BTreeMap::new() }
    }

    /// Something happened. What is to be written now.
    pub(super) fn enter(&mut self, event: PodEvent, now: Duration) -> Result<Option<Write>, NoRoom> {
        let key = (event.pod.clone(), event.kind);
        if let Some(series) = self.series.get_mut(&key) {
            series.write.count = series.write.count.saturating_add(1);
            series.write.event = event;
            return Ok(None);
        }
        if self.series.len() >= MAX_SERIES {
            return Err(NoRoom);
        }
        let write = Write { name: name(&event.pod), count: 1, event };
        let series = Series { write: write.clone(), written: 1, quiet_until: now + self.quiet };
        self.series.insert(key, series);
        Ok(Some(write))
    }

    /// When [`Self::due`] is to be asked next.
    pub(super) fn due_at(&self) -> Option<Duration> {
        self.series.values().map(|series| series.quiet_until).min()
    }

    /// What is to be written now. Series in which nothing happened meanwhile are over.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Write> {
        self.series.retain(|_, series| series.quiet_until > now || series.write.count > series.written);
        let quiet_until = now + self.quiet;
        let due = self.series.values_mut().filter(|series| series.quiet_until <= now);
        due.map(|series| {
            series.written = series.write.count;
            series.quiet_until = quiet_until;
            series.write.clone()
        })
        .collect()
    }

    /// The object of this series is gone: as if it began with what happened last.
    pub(super) fn begin_anew(&mut self, gone: &Write, now: Duration) -> Option<Write> {
        let series = self.series.remove(&gone.key())?;
        self.enter(series.write.event, now).ok().flatten()
    }
}

fn name(pod: &PodReference) -> String {
    let pod = cut(&pod.name, MAX_POD_NAME).trim_end_matches(['-', '.']);
    format!("{pod}.{}", ulid::Ulid::new().to_string().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(pod: &str, kind: Kind, note: &str) -> PodEvent {
        let pod = PodReference { uid: format!("u-{pod}"), namespace: "shop".into(), name: pod.into() };
        PodEvent { pod, container: None, kind, note: note.into() }
    }

    fn minute(number: u64) -> Duration {
        Duration::from_mins(number)
    }

    #[test]
    fn the_first_at_once_the_others_as_one_when_it_has_been_quiet() {
        let mut book = Book::new(minute(10));
        let first = book.enter(event("a", Kind::Swept, "1"), minute(0)).unwrap().unwrap();
        assert_eq!(first.count, 1);
        for number in 1..8 {
            assert_eq!(book.enter(event("a", Kind::Swept, &number.to_string()), minute(number)), Ok(None));
        }
        assert_eq!(book.due(minute(9)), []);
        assert_eq!(book.due_at(), Some(minute(10)));
        let [series] = &book.due(minute(10))[..] else { panic!("not one") };
        assert_eq!((series.count, &series.name), (8, &first.name));
        assert_eq!(book.due(minute(19)), []);
        assert_eq!(book.due(minute(20)), [], "nothing happened since");
        assert_eq!(book.due_at(), None);
        let next = book.enter(event("a", Kind::Swept, "9"), minute(20)).unwrap().unwrap();
        assert!(next.count == 1 && next.name != first.name);
    }

    #[test]
    fn kinds_and_pods_are_told_apart_also_pods_of_one_name() {
        let mut book = Book::new(minute(10));
        let mut again = event("a", Kind::Swept, "");
        again.pod.uid = "another".into();
        let all =
            [event("a", Kind::Swept, ""), event("a", Kind::Harmed, ""), event("b", Kind::Swept, ""), again];
        for event in all {
            assert!(book.enter(event, minute(0)).unwrap().is_some());
        }
    }

    #[test]
    fn a_series_whose_first_is_gone_begins_anew_with_the_last() {
        let mut book = Book::new(minute(10));
        book.enter(event("a", Kind::Swept, "old"), minute(0)).unwrap();
        book.enter(event("a", Kind::Swept, "new"), minute(1)).unwrap();
        let series = book.due(minute(10)).remove(0);
        let anew = book.begin_anew(&series, minute(10)).unwrap();
        assert_eq!((anew.count, anew.event.note.as_str()), (1, "new"));
        assert_ne!(anew.name, series.name);
    }

    #[test]
    fn no_more_series_than_the_bound_until_one_is_over() {
        let mut book = Book::new(minute(10));
        for number in 0..MAX_SERIES {
            book.enter(event(&number.to_string(), Kind::Swept, ""), minute(0)).unwrap();
        }
        assert_eq!(book.enter(event("x", Kind::Swept, ""), minute(1)), Err(NoRoom));
        assert_eq!(book.due(minute(10)), []);
        assert!(book.enter(event("x", Kind::Swept, ""), minute(10)).is_ok());
    }

    #[test]
    fn a_name_is_one_that_the_api_takes() {
        let pod = |name: String| PodReference { uid: String::new(), namespace: String::new(), name };
        let name = name(&pod(format!("{}.{}", "a".repeat(199), "b".repeat(50))));
        assert!(name.len() <= 253 && name.starts_with(&format!("{}.0", "a".repeat(199))), "{name}");
    }
}
