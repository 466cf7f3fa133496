//! docs/metrics.md, made from the metrics themselves.

use std::fmt::Write;

use super::Metrics;

const HEAD: &str = "\
# Metrics

Made from the program itself. To write it anew: `cargo xtask gen`. Names follow the Prometheus conventions: base units,
`_total` for counters.

| name | type | labels | meaning |
|---|---|---|---|
";

impl Metrics {
    /// The reference of all metrics, in Markdown.
    pub fn reference(&self) -> String {
        let mut entries = self.register.entries().to_vec();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries.iter().fold(HEAD.to_owned(), |mut text, entry| {
            let labels: Vec<_> = entry.labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                entry.name,
                entry.kind,
                labels.join(", "),
                entry.help
            );
            text
        })
    }
}
