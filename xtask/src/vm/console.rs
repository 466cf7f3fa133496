//! What the guest's kernel says on its console. In: the text. Out: whether the guest is up, and the lines that tell of
//! a defect in the kernel, or of one that our programs caused. Pure.

/// The guest's init says it when everything that it sets up is there.
const UP: &str = "podsweep-guest: up";
/// What a kernel says when something is wrong with it. Not among them: a stalled CPU, which in TCG is a busy host.
const DEFECTS: [&str; 8] = [
    "BUG:",
    "Oops:",
    "WARNING:",
    "Kernel panic",
    "general protection fault",
    "stack segment",
    "refcount_t:",
    "blocked for more than",
];
/// A defect is shown with so many lines after it: a trace and the registers.
const SHOWN_AFTER: usize = 40;
/// A console that ended too soon is shown from so many lines before its end.
const SHOWN_OF_END: usize = 60;

/// Whether the guest has come up.
pub(crate) fn is_up(text: &str) -> bool {
    text.contains(UP)
}

/// The first defect that the kernel tells of once the guest is up, with what follows it. Before that it meets only
/// the hardware that QEMU emulates.
pub(crate) fn defect(text: &str) -> Option<String> {
    let (_, after) = text.split_once(UP)?;
    let lines: Vec<_> = after.lines().collect();
    let first = lines.iter().position(|line| DEFECTS.iter().any(|sign| line.contains(sign)))?;
    Some(lines[first..lines.len().min(first + SHOWN_AFTER)].join("\n"))
}

/// The last lines.
pub(crate) fn end(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_OF_END)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OOPS: &str = "\
[    1.0] WARNING: CPU: 0 PID: 1 at arch/x86/kernel: an oddity of the emulation
podsweep-guest: up
[    9.1] loop0: detected capacity change
[    9.2] BUG: unable to handle page fault for address: ffffc90000000000
[    9.2] RIP: 0010:bpf_prog_1234+0x5/0x10
";

    #[test]
    fn a_guest_is_up_when_it_says_so() {
        assert!(is_up(OOPS));
        assert!(!is_up("[    1.0] Run /usr/sbin/guest-init as init process\n"));
    }

    #[test]
    fn an_oops_is_shown_with_its_trace() {
        let shown = defect(OOPS).unwrap();
        assert!(
            shown.starts_with("[    9.2] BUG: unable") && shown.ends_with("bpf_prog_1234+0x5/0x10"),
            "{shown}"
        );
    }

    #[test]
    fn what_the_kernel_says_of_emulated_hardware_is_no_defect() {
        let quiet = OOPS.split("[    9.2]").next().unwrap();
        assert_eq!(defect(quiet), None);
        assert_eq!(defect(&OOPS.replace(UP, "")), None);
    }

    #[test]
    fn of_a_long_console_the_end_is_shown() {
        let text: Vec<_> = (0..200).map(|number| format!("line {number}")).collect();
        let shown = end(&text.join("\n"));
        assert!(shown.starts_with("line 140\n") && shown.ends_with("line 199"), "{shown}");
        assert_eq!(end("one\n"), "one");
    }
}
