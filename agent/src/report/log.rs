//! The agent's log: text on a terminal, JSON lines otherwise, always on stderr (stdout belongs to commands).
//!
//! In: `PODSWEEP_LOG` (a tracing filter: `info`, `debug`, `podsweep::scan=debug`), events of all stages, the eBPF
//! programs' lines among them. Must never: be flooded by a place that repeats itself.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// The environment variable with the filter.
pub const FILTER_VARIABLE: &str = "PODSWEEP_LOG";
/// The filter where it is not set.
const DEFAULT_FILTER: &str = "info";
/// Lines that one place in the code may log …
const BURST: u32 = 50;
/// … in this time. Further ones are left out and counted.
const WINDOW: Duration = Duration::from_secs(10);

static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error(
        "{FILTER_VARIABLE}={text:?}: {source}; write a level (error, warn, info, debug, trace) or \
             module=level, with commas between them"
    )]
    Filter {
        /// What the variable holds.
        text: String,
        /// Why.
        source: ParseError,
    },
    /// This process has a log already.
    #[error("the log is set up already: {0}")]
    Already(#[from] TryInitError),
}

impl Format {
    /// Text where stderr is a terminal.
    pub fn of_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Sets up the log of this process. Once.
pub fn init(format: Format) -> Result<(), LogError> {
    let text = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let filter = parse_filter(&text)?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Text => lines.with_target(false).boxed(),
        Format::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    let lines = lines.with_filter(Throttle::default());
    Ok(tracing_subscriber::registry().with(filter).with(lines).try_init()?)
}

/// Lines left out since the process began because one place logged too many.
pub fn suppressed() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

fn parse_filter(text: &str) -> Result<EnvFilter, LogError> {
    let filter = if text.is_empty() { DEFAULT_FILTER } else { text };
    EnvFilter::try_new(filter).map_err(|source| LogError::Filter { text: text.to_owned(), source })
}

/// Lets so many events of each place through. Bounded by the places in the code.
#[derive(Debug, Default)]
struct Throttle(Mutex<HashMap<Identifier, Window>>);

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    lines: u32,
}

impl Window {
    fn admit(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.began) >= WINDOW {
            *self = Self { began: now, lines: 0 };
        }
        self.lines = self.lines.saturating_add(1);
        self.lines <= BURST
    }
}

impl Throttle {
    fn admits(&self, place: Identifier, now: Instant) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = places.entry(place).or_insert(Window { began: now, lines: 0 }).admit(now);
        if !admitted {
            SUPPRESSED.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }
}

impl<S: Subscriber> Filter<S> for Throttle {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admits(event.metadata().callsite(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_place_that_repeats_itself_is_cut_off_and_the_others_are_not() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer().with_writer(move || writer.clone()).with_filter(Throttle::default());
        let before = suppressed();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..BURST + 7 {
                tracing::info!("storm");
            }
            tracing::info!("calm");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("storm").count(), BURST as usize);
        assert_eq!(text.matches("calm").count(), 1);
        assert!(suppressed() >= before + 7);
    }

    #[test]
    fn a_new_window_admits_again() {
        let began = Instant::now();
        let mut window = Window { began, lines: BURST };
        assert!(!window.admit(began + WINDOW.saturating_sub(Duration::from_millis(1))));
        assert!(window.admit(began + WINDOW));
    }

    #[test]
    fn a_bad_filter_is_named_with_the_variable() {
        let message = parse_filter("podsweep=loud").unwrap_err().to_string();
        assert!(message.contains("PODSWEEP_LOG") && message.contains("debug"), "{message}");
        parse_filter("").unwrap();
        parse_filter("warn,podsweep::scan=debug").unwrap();
    }
}
