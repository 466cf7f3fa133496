//! What the walk finds: all of it, once, whatever its name.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use podsweep::policy::Action;
use podsweep::scan::{Kept, ScanEnd};
use rustix::fs::{Mode, OFlags};

use crate::place::{bytes, fill, request, scan, set, touch};

#[tokio::test]
async fn finds_exactly_what_find_finds() {
    let tree = tempfile::tempdir().unwrap();
    for directory in 0..20 {
        fill(&tree.path().join(format!("tmp/d{}/e{}", directory % 4, directory)), 1000);
    }
    let listed =
        Command::new("find").arg(tree.path()).args(["-type", "f", "-printf", r"%P\0"]).output().unwrap();
    let listed: std::collections::BTreeSet<_> =
        listed.stdout.split(|&byte| byte == 0).filter(|path| !path.is_empty()).collect();
    let found = scan(request(tree.path(), &["/tmp/**"])).await;
    assert_eq!(found.report.end, ScanEnd::Complete);
    assert_eq!(found.candidates.len(), 20_000, "each once");
    assert_eq!(found.paths(), listed);
    assert_eq!(found.report.candidates, 20_000);
    assert_eq!((found.report.directories, found.report.entries), (26, 20_000 + 25));
    assert_eq!(found.report.errors, 0);
}

#[tokio::test]
async fn a_candidate_is_what_stat_says() {
    let tree = tempfile::tempdir().unwrap();
    let path = tree.path().join("tmp/a");
    touch(&path);
    let mut request = request(tree.path(), &["/tmp/**"]);
    request.junk[0].action = Action::Truncate;
    let found = scan(request).await;
    let stat = std::fs::metadata(&path).unwrap();
    let [candidate] = &found.candidates[..] else { panic!("one candidate") };
    let identity = candidate.identity;
    assert_eq!((identity.device, identity.inode), (stat.dev(), stat.ino()));
    assert_eq!((identity.mode, identity.uid, identity.gid), (stat.mode(), stat.uid(), stat.gid()));
    assert_eq!((identity.links, identity.size), (stat.nlink(), stat.size()));
    assert_eq!(identity.mtime, (stat.mtime(), stat.mtime_nsec()));
    assert_eq!(identity.ctime, (stat.ctime(), stat.ctime_nsec()));
    assert_eq!(candidate.allocated, stat.blocks() * 512);
    assert_eq!(candidate.action, Action::Truncate);
    assert_eq!(found.report.candidate_bytes, candidate.allocated);
}

#[tokio::test]
async fn any_name_is_told_as_it_is() {
    let tree = tempfile::tempdir().unwrap();
    let names: [&[u8]; 4] = [b"new\nline", b"not utf-8 \xff\xfe", b" ", b"-rf"];
    for name in names {
        touch(tree.path().join("tmp").join(OsStr::from_bytes(name)));
    }
    let found = scan(request(tree.path(), &["/tmp/**"])).await;
    let expected: Vec<_> = names.iter().map(|name| [b"tmp/", *name].concat()).collect();
    assert_eq!(found.paths(), expected.iter().map(Vec::as_slice).collect());
}

#[tokio::test]
async fn directories_that_no_rule_reaches_are_not_read() {
    let tree = tempfile::tempdir().unwrap();
    touch(tree.path().join("tmp/junk"));
    fill(&tree.path().join("var/lib/data"), 100);
    let found = scan(request(tree.path(), &["/tmp/**"])).await;
    assert_eq!(found.paths(), set(&["tmp/junk"]));
    // The root and tmp; the root's two entries and junk.
    assert_eq!((found.report.directories, found.report.entries), (2, 3));
}

#[tokio::test]
async fn files_that_stay_are_counted_by_reason() {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join("tmp").join(name);
    touch(at("junk"));
    touch(at("a.lock"));
    touch(at("precious"));
    touch(at("linked"));
    std::fs::hard_link(at("linked"), tree.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("junk", at("link")).unwrap();
    let mut request = request(tree.path(), &["/tmp/**"]);
    request.junk[0].exclude = vec!["**/*.lock".into()];
    request.never = vec!["/tmp/precious".into()];
    let found = scan(request).await;
    assert_eq!(found.paths(), set(&["tmp/junk"]));
    for reason in [Kept::Excluded, Kept::Never, Kept::HardLinked, Kept::Type] {
        assert_eq!(found.kept(reason), 1, "{reason:?}");
    }
}

#[tokio::test]
async fn the_newest_of_each_directory_stay() {
    let tree = tempfile::tempdir().unwrap();
    for directory in ["a", "b"] {
        fill(&tree.path().join("tmp").join(directory), 10);
    }
    let mut request = request(tree.path(), &["/tmp/**"]);
    request.junk[0].keep_newest = 3;
    let found = scan(request).await;
    assert_eq!((found.report.candidates, found.kept(Kept::Newest)), (14, 6));
}

#[tokio::test]
async fn a_tree_deeper_than_any_path_is_walked_to_its_bottom() {
    const LEVELS: usize = 60;
    let tree = tempfile::tempdir().unwrap();
    std::fs::create_dir(tree.path().join("tmp")).unwrap();
    let name = "d".repeat(200);
    let mut directory: OwnedFd = std::fs::File::open(tree.path().join("tmp")).unwrap().into();
    for _ in 0..LEVELS {
        rustix::fs::mkdirat(&directory, &name, Mode::RWXU).unwrap();
        directory = rustix::fs::openat(&directory, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    rustix::fs::openat(&directory, "bottom", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    let found = scan(request(tree.path(), &["/tmp/**"])).await;
    let [candidate] = &found.candidates[..] else { panic!("one candidate") };
    assert_eq!(candidate.path.len(), "tmp/".len() + LEVELS * (name.len() + 1) + "bottom".len());
    assert!(candidate.path.len() > 4096);
    assert_eq!(found.report.errors, 0);
}

#[tokio::test]
async fn a_tree_deeper_than_the_bound_is_an_error_and_not_a_crash() {
    const LEVELS: usize = 1100;
    let tree = tempfile::tempdir().unwrap();
    std::fs::create_dir(tree.path().join("tmp")).unwrap();
    let mut directory: OwnedFd = std::fs::File::open(tree.path().join("tmp")).unwrap().into();
    for _ in 0..LEVELS {
        rustix::fs::mkdirat(&directory, "d", Mode::RWXU).unwrap();
        directory = rustix::fs::openat(&directory, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let found = scan(request(tree.path(), &["/tmp/**"])).await;
    assert_eq!(found.report.end, ScanEnd::Complete);
    assert_eq!((found.report.errors, found.report.directories), (1, 1024));
}

#[tokio::test]
async fn two_roots_are_told_apart() {
    let (layer, volume) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    touch(layer.path().join("cache/a"));
    touch(volume.path().join("b"));
    let mut request = request(layer.path(), &["/cache/**"]);
    let mut second = crate::place::root(volume.path());
    second.seen_at = "/cache".into();
    request.roots.push(second);
    let found = scan(request).await;
    let told: Vec<_> = found.candidates.iter().map(|c| (c.root, c.path.as_slice())).collect();
    assert_eq!(told, [(0, &b"cache/a"[..]), (1, &b"b"[..])]);
}

#[tokio::test]
async fn looking_does_not_move_access_times() {
    let tree = tempfile::tempdir().unwrap();
    let directory = tree.path().join("tmp");
    touch(directory.join("a"));
    // Older than the last change, which is when a relatime mount would move it.
    let before = Command::new("touch").args(["-a", "-d", "2001-01-01"]).arg(&directory).status().unwrap();
    assert!(before.success());
    let before = std::fs::metadata(&directory).unwrap().atime();
    let found = scan(request(tree.path(), &["/tmp/**"])).await;
    assert_eq!(found.report.candidates, 1);
    assert_eq!(
        std::fs::metadata(&directory).unwrap().atime(),
        before,
        "{:?}",
        bytes(&directory).escape_ascii()
    );
}
