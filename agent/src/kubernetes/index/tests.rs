use serde_json::{Value, json};

use super::*;
use crate::kubernetes::fixtures::{self, ID, RESTARTED_ID, UID, cart, static_pod};
use crate::policy::fixtures::container;

fn listed(pods: Vec<Value>) -> Index {
    let index = Index::default();
    fixtures::listed(&index, pods);
    index
}

fn in_pod(uid: Option<&str>, id: &str) -> Container {
    let mut container = container();
    container.names = Names {
        pod_uid: uid.map(str::to_owned),
        container: Some("app".into()),
        namespace: Some("shop".into()),
        ..Names::default()
    };
    container.id = id.into();
    container
}

#[test]
fn a_container_is_known_by_its_pods_uid_and_its_own_id() {
    let index = listed(vec![cart()]);
    let membership = |uid, id| index.of(&in_pod(uid, id)).membership;
    assert!(matches!(membership(Some(UID), ID), Membership::Member(pod) if pod.name == "cart-7d9f5c-x2x4z"));
    assert!(matches!(membership(Some(UID), RESTARTED_ID), Membership::ContainerUnknown(_)));
    assert_eq!(membership(Some("another"), ID), Membership::PodUnknown);
    assert_eq!(membership(None, ID), Membership::NoPod);
}

#[test]
fn a_static_pod_is_known_as_one() {
    let index = listed(vec![static_pod()]);
    let known = index.of(&in_pod(Some("0123456789abcdef0123456789abcdef"), ID));
    assert!(matches!(known.membership, Membership::Static(_)));
    assert_eq!(known.namespace, Some(Annotation::Absent));
}

#[test]
fn a_namespace_that_was_not_told_is_unknown_and_not_without_a_word() {
    let index = listed(vec![cart()]);
    index.namespaces.kept().replace(vec![]);
    assert_eq!(index.of(&in_pod(Some(UID), ID)).namespace, None);
}

#[test]
fn nothing_holds_before_all_that_is_watched_was_listed() {
    let index = listed(vec![cart()]);
    assert_eq!(index.stale(), None);
    let fresh = Index { policies: Arc::default(), ..listed(vec![cart()]) };
    assert_eq!(fresh.stale().as_deref(), Some("sweeppolicies: not listed yet"));
    assert_eq!(Index::default().stale().as_deref(), Some("pods: not listed yet"));
}

#[test]
fn signs_are_those_of_the_container_of_that_name_whatever_its_id() {
    let mut restarted = cart();
    let status = &mut restarted["status"]["containerStatuses"][0];
    status["containerID"] = json!(format!("containerd://{RESTARTED_ID}"));
    status["restartCount"] = json!(1);
    status["ready"] = json!(false);
    let signs = listed(vec![restarted]).signs(&in_pod(Some(UID), ID)).unwrap();
    let expected = PodSigns { restarts: 1, ready: Some(false), ..PodSigns::default() };
    assert_eq!(signs, expected);
}

#[test]
fn a_pod_that_is_gone_is_leaving_and_one_that_nobody_told_of_is_no_sign() {
    assert!(listed(vec![]).signs(&in_pod(Some(UID), ID)).unwrap().leaving);
    assert_eq!(Index::default().signs(&in_pod(Some(UID), ID)), None);
    assert_eq!(listed(vec![cart()]).signs(&in_pod(None, ID)), None);
    let mut unnamed = in_pod(Some(UID), ID);
    unnamed.names.container = Some("other".into());
    assert_eq!(listed(vec![cart()]).signs(&unnamed), None);
}

#[test]
fn names_are_the_apis_where_it_knows_the_pod() {
    let home = tempfile::tempdir().unwrap();
    let names = PodNames::new(Arc::new(listed(vec![cart()])), RuntimePaths::below(home.path()));
    let known = names.names(ID, Some(UID)).unwrap();
    assert_eq!(
        (known.workload.as_deref(), known.container.as_deref()),
        (Some("Deployment/cart"), Some("app"))
    );
    assert_eq!(known.pod_uid.as_deref(), Some(UID));
    assert_eq!(names.names(ID, Some("another")), None);
    assert_eq!(names.names(ID, None), None);
}
