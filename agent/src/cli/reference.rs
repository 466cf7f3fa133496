//! docs/cli.md, rendered from the definitions, so that it cannot drift.

use std::fmt::Write;

use clap::CommandFactory;

use super::Cli;

/// Columns of the help texts in the document.
const WIDTH: usize = 100;

/// Every command's help as Markdown.
pub fn reference() -> String {
    let mut root = Cli::command().term_width(WIDTH);
    root.build();
    let names: Vec<_> = root
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    let mut text = String::from(
        "# The command line\n\nRendered from the program's own help. To write it anew: `cargo xtask gen`.\n",
    );
    section(&mut text, "podsweep", &mut root);
    for name in names {
        if let Some(command) = root.find_subcommand_mut(&name) {
            section(&mut text, &format!("podsweep {name}"), command);
        }
    }
    text
}

fn section(text: &mut String, title: &str, command: &mut clap::Command) {
    let help = command.render_long_help().to_string();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    // Writing to a String cannot fail.
    let _ = write!(text, "\n## `{title}`\n\n```text\n{}\n```\n", help.join("\n").trim());
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_says_what_the_program_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
        let rendered = super::reference();
        if std::env::var_os("PODSWEEP_BLESS").is_some() {
            std::fs::write(path, &rendered).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == rendered, "docs/cli.md is out of date; run `cargo xtask gen`");
    }
}
