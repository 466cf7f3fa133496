//! The commands that remove: the one place where they are made (`tests::sources::nothing_else_removes`; [`RmCommand`]
//! has no other constructors). Pure.
//!
//! In: paths as the container sees them. Out: arguments, for no shell. Must never: hold a path that is not absolute, a
//! flag that follows or descends.

use super::super::door::Deed;

/// Longest path that one call takes: `PATH_MAX` of linux/limits.h, less the NUL.
const MAX_PATH: usize = 4095;

/// Bytes that the names of one command may take in the request's URL, where they are query parameters. hyper takes a
/// URL of at most 65,534 bytes (`http::Uri`), Go's server a request head of 1 MiB. One name has at most three times
/// [`MAX_PATH`], so there is room for one always.
const MAX_ENCODED: usize = 32 << 10;

/// What stands before each name there: `&command=`.
const PARAMETER: usize = 9;

/// A program with its arguments that removes what it names, or does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RmCommand(Vec<String>);

impl RmCommand {
    /// `rm` of these files, or `rmdir` of these directories. Neither removes a directory that is not empty, and a symlink
    /// goes itself. `-f`: a name that is gone is no error, and nobody is asked.
    pub(super) fn remove(deed: Deed, nice: bool, paths: impl IntoIterator<Item = PassablePath>) -> Self {
        let program: &[&str] = match deed {
            Deed::RemoveDirectory => &["rmdir", "--"],
            Deed::Delete | Deed::Truncate => &["rm", "-f", "--"],
        };
        let nice: &[&str] = if nice { &["nice", "-n", "19"] } else { &[] };
        let fixed = nice.iter().chain(program).map(|&word| word.to_owned());
        Self(fixed.chain(paths.into_iter().map(|path| path.0)).collect())
    }

    /// `rm` of nothing: succeeds (GNU, BusyBox, toybox), and so tells whether it is there.
    pub(super) fn nothing(nice: bool) -> Self {
        Self::remove(Deed::Delete, nice, [])
    }

    /// The program and its arguments.
    pub fn arguments(&self) -> &[String] {
        &self.0
    }
}

/// An absolute path that goes through unchanged: query parameter, JSON, protobuf's `string`, argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PassablePath(String);

impl PassablePath {
    /// `None` where it would not: the kubelet and the runtime pass on UTF-8 alone, and the kernel takes no longer one.
    pub(super) fn new(seen_path: Vec<u8>) -> Option<Self> {
        let path = String::from_utf8(seen_path).ok()?;
        (path.starts_with('/') && path.len() <= MAX_PATH && !path.contains('\0')).then_some(Self(path))
    }

    /// Bytes in a URL, as `application/x-www-form-urlencoded` at worst.
    fn encoded(&self) -> usize {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*');
        let plain = self.0.bytes().filter(plain).count();
        PARAMETER + plain + 3 * (self.0.len() - plain)
    }
}

/// How many of these, from the first on, one command takes: at least one.
pub(super) fn as_many_as_fit<'a>(paths: impl IntoIterator<Item = &'a PassablePath>) -> usize {
    let sums = paths.into_iter().scan(0, |sum, path| {
        *sum += path.encoded();
        Some(*sum)
    });
    sums.take_while(|&sum| sum <= MAX_ENCODED).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PassablePath {
        PassablePath::new(text.into()).unwrap()
    }

    #[test]
    fn names_are_arguments_and_never_options() {
        let paths = || ["/tmp/-rf", "/tmp/a b\n;$(c)'\""].map(path);
        let command = RmCommand::remove(Deed::Delete, true, paths());
        assert_eq!(
            command.arguments(),
            ["nice", "-n", "19", "rm", "-f", "--", "/tmp/-rf", "/tmp/a b\n;$(c)'\""]
        );
        let command = RmCommand::remove(Deed::RemoveDirectory, false, paths());
        assert_eq!(command.arguments()[..3], ["rmdir", "--", "/tmp/-rf"]);
        assert_eq!(RmCommand::nothing(false).arguments(), ["rm", "-f", "--"]);
    }

    #[test]
    fn what_would_not_arrive_as_it_is_is_not_passed_on() {
        for bad in [&b"tmp/a"[..], b"-rf", b"", b"/tmp/\xff", b"/tmp/a\0b", &[b'/'; MAX_PATH + 1]] {
            assert_eq!(PassablePath::new(bad.to_vec()), None, "{}", bad.escape_ascii());
        }
        assert!(PassablePath::new(vec![b'/'; MAX_PATH]).is_some());
        assert!(PassablePath::new("/tmp/文件\u{fffd}\u{1b}".into()).is_some());
    }

    #[test]
    fn a_command_stays_within_its_url_and_takes_one_name_at_least() {
        let longest =
            PassablePath::new([&b"/"[..], &[0xf4, 0x8f, 0xbf, 0xbf].repeat(MAX_PATH / 4)].concat()).unwrap();
        assert!(longest.encoded() <= MAX_ENCODED);
        let many = vec![longest; 10];
        let fit = as_many_as_fit(&many);
        assert_eq!(fit, MAX_ENCODED / many[0].encoded());
        let short = vec![path("/tmp/a"); 10_000];
        assert_eq!(as_many_as_fit(&short), MAX_ENCODED / (PARAMETER + "%2Ftmp%2Fa".len()));
    }
}
