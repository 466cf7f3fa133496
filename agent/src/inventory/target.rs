//! What a person writes to name one container (or a plain directory): `TARGET`. Pure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Shortest prefix of an id that names a container; shorter ones must be the whole id.
pub const SHORTEST_PREFIX: usize = 6;

/// A way to name a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A runtime's id: all of it, or its unique beginning of at least [`SHORTEST_PREFIX`] characters.
    Id(String),
    /// `namespace/pod` or `namespace/pod/container`.
    Pod {
        /// Kubernetes namespace.
        namespace: String,
        /// Pod name.
        pod: String,
        /// Container name; may be left out where the pod has only one.
        container: Option<String>,
    },
    /// `pid:N`: the container that this process of the host's pid namespace is in.
    Pid(i32),
    /// A cgroup's path below the cgroup2 mount; begins with `/`.
    Cgroup(String),
    /// `dir:PATH`: a plain directory, no container.
    Dir(PathBuf),
}

/// A target that names no container, or no single one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The text is none of the forms.
    #[error(
        "target {text:?}: {what}; write a container id, NAMESPACE/POD[/CONTAINER], pid:N, a cgroup path that begins \
         with /, or dir:PATH"
    )]
    Malformed {
        /// What was written.
        text: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// No container is like that.
    #[error("target {target}: {what}")]
    NotFound {
        /// What was asked for.
        target: String,
        /// What was looked for in vain, and where to look instead.
        what: String,
    },
    /// More than one container is like that.
    #[error("target {target} names {count} containers ({names}); write more of it")]
    Ambiguous {
        /// What was asked for.
        target: String,
        /// How many.
        count: usize,
        /// The first few of them.
        names: String,
    },
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let malformed = |what| Err(TargetError::Malformed { text: text.to_owned(), what });
        if let Some(pid) = text.strip_prefix("pid:") {
            return match pid.parse() {
                Ok(pid) if pid > 0 => Ok(Self::Pid(pid)),
                _ => malformed("the pid is no positive number"),
            };
        }
        if let Some(path) = text.strip_prefix("dir:") {
            return if path.is_empty() { malformed("the path is empty") } else { Ok(Self::Dir(path.into())) };
        }
        if text.starts_with('/') {
            return match text.trim_end_matches('/') {
                "" => malformed("the root cgroup is no container"),
                path => Ok(Self::Cgroup(path.to_owned())),
            };
        }
        let parts: Vec<_> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty() || part.contains(char::is_whitespace)) {
            return malformed("a part of it is empty or has a space");
        }
        match parts[..] {
            [id] => Ok(Self::Id(id.to_owned())),
            [namespace, pod] => {
                Ok(Self::Pod { namespace: namespace.into(), pod: pod.into(), container: None })
            }
            [namespace, pod, container] => Ok(Self::Pod {
                namespace: namespace.into(),
                pod: pod.into(),
                container: Some(container.into()),
            }),
            _ => malformed("it has more than three parts"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Pod { namespace, pod, container: None } => write!(f, "{namespace}/{pod}"),
            Self::Pod { namespace, pod, container: Some(container) } => {
                write!(f, "{namespace}/{pod}/{container}")
            }
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Cgroup(path) => f.write_str(path),
            Self::Dir(path) => write!(f, "dir:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        let pod = |container: Option<&str>| Target::Pod {
            namespace: "prod".into(),
            pod: "web-1".into(),
            container: container.map(str::to_owned),
        };
        for (text, target) in [
            ("abc123", Target::Id("abc123".into())),
            ("prod/web-1", pod(None)),
            ("prod/web-1/app", pod(Some("app"))),
            ("pid:7", Target::Pid(7)),
            ("/system.slice/x.service", Target::Cgroup("/system.slice/x.service".into())),
            ("dir:/tmp/a b", Target::Dir("/tmp/a b".into())),
            ("dir:relative", Target::Dir("relative".into())),
        ] {
            assert_eq!(text.parse(), Ok(target.clone()), "{text}");
            assert_eq!(target.to_string(), text);
        }
        assert_eq!("/a/".parse(), Ok(Target::Cgroup("/a".into())));
    }

    #[test]
    fn what_is_malformed_says_how_to_write_it() {
        for text in
            ["", "pid:", "pid:0", "pid:-3", "pid:x", "dir:", "/", "//", "a//b", "a/b/c/d", "a b", "a/"]
        {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains("NAMESPACE/POD"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_reads_the_same_again(text in ".{0,40}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }
    }
}
