//! Text that a container may have chosen (names of files and directories), made harmless to whoever reads it.
//!
//! In: text. Out: the same, with what a terminal would take for a command written out. Pure. Must never: change what
//! a program reads out of JSON.

use std::fmt::Write;

/// Whether a terminal shows this character and nothing more: no control character (those of C1, U+0080 to U+009F, are
/// to some terminals what ESC begins), none that changes the direction of writing.
pub fn is_harmless(c: char) -> bool {
    let direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !direction
}

/// JSON that says the same, where every such character is escaped: JSON itself asks that of those below U+0020 only.
pub fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // Between values, newlines are the document's own; within strings they are escaped already.
        if is_harmless(c) || c == '\n' {
            text.push(c);
        } else {
            // None of them lies beyond U+FFFF. Writing to a String cannot fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_of_json_gets_what_was_written() {
        let name = "a\x1b[2J\u{9b}31m\x7f\n\"\\ \u{202e}naïve 文件 🎉";
        let plain = serde_json::to_string_pretty(&[name]).unwrap();
        let harmless = harmless_json(&plain);
        assert!(
            harmless.chars().all(|c| is_harmless(c) || c == '\n') && harmless.contains("文件 🎉"),
            "{harmless}"
        );
        assert_eq!(serde_json::from_str::<Vec<String>>(&harmless).unwrap(), [name]);
    }
}
