//! Tables and JSON on stdout. Whatever comes from a container (names, paths) is made harmless for a terminal here.

use std::fmt::{Display, Write as _};
use std::io::{Write as _, stdout};

use clap::ValueEnum;
use comfy_table::{ColumnConstraint, ContentArrangement, presets};
use serde::Serialize;

use crate::text::{harmless_json, is_harmless};

/// Columns that a table takes at most; longer cells wrap.
const TABLE_WIDTH: u16 = 100;

/// How to print the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people; not stable
    #[default]
    Table,
    /// For programs; fields keep their names
    Json,
}

/// One JSON value, indented.
pub(super) fn json(value: &impl Serialize) -> std::io::Result<()> {
    writeln!(stdout().lock(), "{}", harmless_json(&serde_json::to_string_pretty(value)?))
}

/// One JSON value, on one line: for what may be too much for one document.
pub(super) fn json_line(value: &impl Serialize) -> std::io::Result<()> {
    let mut out = stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)
}

/// One line.
pub(super) fn line(text: impl Display) -> std::io::Result<()> {
    writeln!(stdout().lock(), "{}", printable(&text.to_string()))
}

/// A table without borders, columns two spaces apart.
pub(super) struct Table(comfy_table::Table);

impl Table {
    /// With a header in capitals.
    pub(super) fn new(header: &[&str]) -> Self {
        let mut table = Self::plain();
        table.0.set_header(header);
        table
    }

    /// Without a header: labels and values.
    pub(super) fn plain() -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(TABLE_WIDTH);
        Self(table)
    }

    /// One more row.
    pub(super) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.0.add_row(cells.into_iter().map(|cell| printable(cell.as_ref())));
    }

    /// Keeps the first column whole, so that its ids can be copied.
    pub(super) fn keep_first_column(&mut self) {
        if let Some(column) = self.0.column_mut(0) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }

    pub(super) fn print(mut self) -> std::io::Result<()> {
        writeln!(stdout().lock(), "{}", self.render())
    }

    fn render(&mut self) -> String {
        for column in self.0.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.0.trim_fmt()
    }
}

/// Text that cannot move the cursor or change colours: control characters (newline, escape, bidirectional overrides)
/// as `\u{…}`.
pub(super) fn printable(text: &str) -> String {
    let harmless = |c: char| if is_harmless(c) { c.to_string() } else { c.escape_unicode().to_string() };
    text.chars().map(harmless).collect()
}

/// A path's bytes as text: bytes that are not UTF-8 as `\xNN`.
pub(super) fn path_text(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_file_name_cannot_drive_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{202e}d"), "a\\u{1b}[2Jb\\u{a}c\\u{202e}d");
        assert_eq!(printable("/tmp/naïve 文件"), "/tmp/naïve 文件");
        assert_eq!(path_text(b"/tmp/\xff\xfe.x"), "/tmp/\\xff\\xfe.x");
    }

    #[test]
    fn a_table_fits_its_width_and_keeps_ids_whole() {
        let id = "01JD6Q3M8Z6T4V8WZJ9Q2C5R7N";
        let mut table = Table::new(&["ID", "CONTAINER", "MESSAGE"]);
        table.row([id, "namespace/pod-with-a-long-name-7d9f8b6c5/container", &"word ".repeat(40)]);
        table.keep_first_column();
        let text = table.render();
        assert!(text.contains(id), "{text}");
        assert!(text.lines().all(|line| line.len() <= usize::from(TABLE_WIDTH)), "{text}");
        assert!(text.starts_with("ID"), "{text:?}");
    }
}
