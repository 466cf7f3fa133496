//! For tests: a small tmpfs in a mount namespace of the test's own thread, to be really full.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` in a folder on a tmpfs of this many MiB that nobody else sees, gone with the thread.
pub(super) fn on_small_disk(mebibytes: u32, test: impl FnOnce(&Path) + Send + 'static) {
    assert!(nix::unistd::geteuid().is_root(), "this test mounts a tmpfs: run it as root");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let options = format!("size={mebibytes}m,mode=0700");
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
        test(&path);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Takes every last block.
pub(super) fn fill(folder: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join("storm")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}
