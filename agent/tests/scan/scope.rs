//! Where the walk does not go: symlinks, other mounts, the image's layers.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, mknod};
use podsweep::policy::FileType;
use podsweep::scan::{Kept, ScanEnd, ScanError};

use crate::place::{Found, Slice, request, scan, set, touch};

#[tokio::test]
async fn symlinks_are_not_followed() {
    let tree = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    touch(outside.path().join("secret"));
    touch(tree.path().join("tmp/junk"));
    std::os::unix::fs::symlink(outside.path(), tree.path().join("tmp/directory")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), tree.path().join("tmp/file")).unwrap();
    std::os::unix::fs::symlink(tree.path().join("tmp"), tree.path().join("tmp/loop")).unwrap();
    let mut request = request(tree.path(), &["/tmp/**"]);
    let found = scan(request.clone()).await;
    assert_eq!(found.paths(), set(&["tmp/junk"]));
    assert_eq!(found.kept(Kept::Type), 3);
    request.junk[0].types.push(FileType::Symlink);
    let found = scan(request).await;
    assert_eq!(found.paths(), set(&["tmp/junk", "tmp/directory", "tmp/file", "tmp/loop"]), "themselves only");
}

#[tokio::test]
async fn a_root_that_is_a_symlink_is_refused() {
    let tree = tempfile::tempdir().unwrap();
    touch(tree.path().join("real/tmp/junk"));
    std::os::unix::fs::symlink("real", tree.path().join("link")).unwrap();
    let found = scan(request(&tree.path().join("link"), &["/tmp/**"])).await;
    assert_eq!((found.report.end, found.report.candidates), (ScanEnd::WorkerFailed, 0));
}

/// In a thread with mounts of its own, so that the machine's stay as they are.
fn scan_with_mount(tree: &Path, prepare: impl FnOnce(&Path) + Send + 'static) -> Found {
    let tree = tree.to_path_buf();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount::<str, str, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None).unwrap();
        prepare(&tree);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(scan(request(&tree, &["/tmp/**"])))
    });
    thread.join().unwrap()
}

#[test]
fn another_filesystem_is_not_entered() {
    let tree = tempfile::tempdir().unwrap();
    touch(tree.path().join("tmp/junk"));
    std::fs::create_dir(tree.path().join("tmp/mounted")).unwrap();
    let found = scan_with_mount(tree.path(), |tree| {
        let at = tree.join("tmp/mounted");
        mount::<str, _, str, str>(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), None).unwrap();
        touch(at.join("not-ours"));
    });
    assert_eq!(found.paths(), set(&["tmp/junk"]));
    assert_eq!(found.kept(Kept::MountInside), 1);
}

#[test]
fn a_bind_mount_of_the_same_filesystem_is_not_entered() {
    let tree = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    touch(tree.path().join("tmp/junk"));
    touch(outside.path().join("not-ours"));
    std::fs::create_dir(tree.path().join("tmp/mounted")).unwrap();
    let source = outside.path().to_path_buf();
    let found = scan_with_mount(tree.path(), move |tree| {
        let at = tree.join("tmp/mounted");
        mount::<_, _, str, str>(Some(&source), &at, None, MsFlags::MS_BIND, None).unwrap();
    });
    assert_eq!(found.paths(), set(&["tmp/junk"]));
    assert_eq!(found.kept(Kept::MountInside), 1);
}

#[tokio::test]
async fn what_the_container_has_mounts_on_stays() {
    let tree = tempfile::tempdir().unwrap();
    touch(tree.path().join("tmp/junk"));
    touch(tree.path().join("tmp/hosts"));
    touch(tree.path().join("tmp/volume/file"));
    let mut request = request(tree.path(), &["/tmp/**"]);
    request.roots[0].mounts = vec![PathBuf::from("/tmp/hosts"), PathBuf::from("/tmp/volume")];
    let found = scan(request).await;
    assert_eq!(found.paths(), set(&["tmp/junk"]));
    assert_eq!(found.kept(Kept::MountInside), 2);
}

#[tokio::test]
async fn whiteouts_are_no_files_and_files_of_the_image_stay() {
    let layers = tempfile::tempdir().unwrap();
    let (upper, top, bottom) =
        (layers.path().join("upper"), layers.path().join("top"), layers.path().join("bottom"));
    for path in
        ["tmp/junk", "tmp/in-top", "tmp/in-bottom", "tmp/sub/deep", "tmp/new/junk", "tmp/file-in-image/junk"]
    {
        touch(upper.join(path));
    }
    let whiteout = CString::new(upper.join("tmp/gone").as_os_str().as_bytes()).unwrap();
    mknod(whiteout.as_c_str(), SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
    touch(top.join("tmp/in-top"));
    touch(top.join("tmp/file-in-image"));
    touch(bottom.join("tmp/in-bottom"));
    touch(bottom.join("tmp/gone"));
    touch(bottom.join("tmp/sub/deep"));
    let mut request = request(&upper, &["/tmp/**"]);
    request.roots[0].lower = vec![top, bottom];
    let found = scan(request).await;
    assert_eq!(found.paths(), set(&["tmp/junk", "tmp/new/junk", "tmp/file-in-image/junk"]));
    assert_eq!(found.kept(Kept::LowerLayer), 3);
    assert_eq!(found.report.kept.len(), 1, "the whiteout is not counted at all: {:?}", found.report.kept);
}

#[tokio::test]
async fn a_layer_that_cannot_be_opened_stops_the_scan() {
    let tree = tempfile::tempdir().unwrap();
    touch(tree.path().join("tmp/junk"));
    let mut request = request(tree.path(), &["/tmp/**"]);
    request.roots[0].lower = vec![tree.path().join("no-such-layer")];
    let slice = Slice::new();
    let mut scan = podsweep::scan::start(request, &slice.place).await.unwrap();
    while scan.next().await.is_some() {}
    let failure = scan.failure().unwrap();
    assert!(failure.contains("no-such-layer"), "{failure}");
}

#[tokio::test]
async fn a_root_that_does_not_exist_is_an_error() {
    let slice = Slice::new();
    let error = podsweep::scan::start(request(Path::new("/no/such/root"), &["/tmp/**"]), &slice.place).await;
    let error = error.map(|_| ()).unwrap_err();
    assert!(matches!(error, ScanError::Cgroup(_)), "{error}");
    assert!(error.to_string().contains("/no/such/root"), "{error}");
    assert_eq!(slice.scans(), Vec::<PathBuf>::new());
}
