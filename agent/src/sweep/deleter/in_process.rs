//! The deleter's loop without its process, for tests and fuzz/: a thread that keeps all that it may.
//!
//! In: a socket, or packets. Out: what the loop makes of them. Must never: be part of the program.

#[cfg(feature = "fuzzing")]
use std::path::Path;

use super::confine;
use super::serve::Confinement;
#[cfg(feature = "fuzzing")]
use super::serve::{DeleterError, serve};

impl Confinement {
    /// Nothing is given up.
    #[cfg(test)]
    pub(in super::super) const NONE: Self = Self { begin: confine::rights, finish: |_, _, _| Ok(()) };

    /// Nothing is given up, and nothing may be changed, whatever was asked for.
    #[cfg(feature = "fuzzing")]
    const LOOK: Self =
        Self { begin: |_| confine::rights(super::super::executor::Means::Look), finish: |_, _, _| Ok(()) };
}

/// A deleter that may only look, shown one directory and then given these packets. Its answers, as they come.
#[cfg(feature = "fuzzing")]
pub(crate) fn look_through(directory: &Path, packets: &[&[u8]]) -> (Vec<Vec<u8>>, Result<(), DeleterError>) {
    use std::os::fd::AsFd;

    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown,
        socketpair,
    };

    use super::super::executor::Means;
    use super::super::plan::directory_root;
    use super::super::view::View;
    use super::order::Order;
    use super::packet::{self, MAX_BYTES};

    let kind = SocketType::SEQPACKET;
    let Ok((ours, theirs)) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None) else {
        return (Vec::new(), Err(DeleterError::Orders("no socket")));
    };
    let serving = std::thread::spawn(move || serve(theirs.as_fd(), Confinement::LOOK));
    if let Ok(view) = View::of_directories(&[directory_root(directory)]) {
        let handles: Vec<_> =
            view.roots.iter().flat_map(|root| [root.merged.as_fd(), root.upper.as_fd()]).collect();
        // A deleter that has ended is what is to be found out.
        let _ = packet::send(ours.as_fd(), &Order::Begin(Means::Remove), &[]);
        let _ = packet::send(ours.as_fd(), &Order::View { held: false, lower: vec![0] }, &handles);
    }
    for packet in packets {
        let _ = send(&ours, packet, SendFlags::NOSIGNAL);
    }
    let _ = shutdown(&ours, Shutdown::Write);
    let mut answers = Vec::new();
    let mut buffer = vec![0; MAX_BYTES];
    while let Ok((_, length @ 1..)) = recv(&ours, &mut buffer[..], RecvFlags::empty()) {
        answers.push(buffer[..length].to_vec());
    }
    (answers, serving.join().unwrap_or(Err(DeleterError::Orders("it panicked"))))
}
