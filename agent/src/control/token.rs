//! The bearer token that every TCP client must bring (RFC 6750, header only).
//!
//! The file is read for each request, so a changed token holds at once; requests over TCP are a few a minute.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Shorter tokens are refused: 16 bytes are what `openssl rand -hex 8` gives, 64 bits.
const MIN_TOKEN: usize = 16;

/// Longest token file that is read.
const MAX_TOKEN_FILE: u64 = 4096;

/// The token file cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error(
        "cannot read the token file {path:?}: {source}; make one: (umask 077; openssl rand -hex 32 > {path:?})"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Everybody on the host can read it.
    #[error(
        "token file {path:?} is readable or writable by everyone (mode {mode:04o}); run: chmod o-rwx {path:?}"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Too easy to guess, or not a token.
    #[error(
        "token file {path:?} must hold one word of {MIN_TOKEN} to {MAX_TOKEN_FILE} ASCII characters; make one: openssl rand -hex 32"
    )]
    Unfit {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the token.
pub(super) fn read(path: &Path) -> Result<String, TokenError> {
    let failed = |source| TokenError::Read { path: path.into(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(TokenError::Exposed { path: path.into(), mode });
    }
    let mut text = String::new();
    file.take(MAX_TOKEN_FILE).read_to_string(&mut text).map_err(failed)?;
    let token = text.trim();
    if token.len() < MIN_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::Unfit { path: path.into() });
    }
    Ok(token.to_owned())
}

/// Whether an `Authorization` header brings this token.
pub(super) fn accepts(token: &str, authorization: Option<&[u8]>) -> bool {
    let Some((scheme, given)) = authorization.and_then(|header| header.split_at_checked("Bearer ".len()))
    else {
        return false;
    };
    // RFC 9110: the scheme is case-insensitive.
    scheme.eq_ignore_ascii_case(b"Bearer ") && same(token.as_bytes(), given.trim_ascii())
}

// Takes as long for a wrong first byte as for a wrong last one. The length is no secret: it is in the documentation.
fn same(expected: &[u8], given: &[u8]) -> bool {
    let difference = expected.iter().zip(given).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    expected.len() == given.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn only_the_whole_token_is_accepted() {
        assert!(accepts(TOKEN, Some(b"Bearer 0123456789abcdef")));
        assert!(accepts(TOKEN, Some(b"bearer 0123456789abcdef")));
        for wrong in [
            &b"Bearer 0123456789abcdeX"[..],
            b"Bearer X123456789abcdef",
            b"Bearer 0123456789abcde",
            b"Bearer 0123456789abcdef0",
            b"Bearer ",
            b"Bearer",
            b"Basic  0123456789abcdef",
            b"0123456789abcdef",
            b"",
        ] {
            assert!(!accepts(TOKEN, Some(wrong)), "{wrong:?}");
        }
        assert!(!accepts(TOKEN, None));
    }

    #[test]
    fn a_file_that_anyone_can_read_or_that_holds_no_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(matches!(read(&path), Err(TokenError::Read { .. })));
        std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("chmod o-rwx"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap(), TOKEN);
        for unfit in ["", "\n", "short", "0123456789 abcdef"] {
            std::fs::write(&path, unfit).unwrap();
            assert!(matches!(read(&path), Err(TokenError::Unfit { .. })), "{unfit:?}");
        }
    }
}
