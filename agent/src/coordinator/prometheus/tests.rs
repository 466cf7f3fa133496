//! A real server on loopback that speaks Prometheus' API, or does not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const ONE: &str = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#;

type Asked = Arc<Mutex<Vec<BTreeMap<String, String>>>>;

struct Server {
    url: String,
    asked: Asked,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let asked = Asked::default();
        let router = Router::new()
            .route("/api/v1/query", get(answer))
            .route("/below/api/v1/query", get(answer))
            .with_state(Arc::clone(&asked));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked, serving }
    }

    async fn ask(&self, path: &str, query: &str) -> Answer {
        let url = format!("{}{path}", self.url).parse().unwrap();
        Prometheus::new(url).unwrap().ask(query).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(asked): State<Asked>, Query(parameters): Query<BTreeMap<String, String>>) -> Response {
    let query = parameters.get("query").cloned().unwrap_or_default();
    asked.lock().unwrap().push(parameters);
    match query.as_str() {
        "hang" => std::future::pending().await,
        "elsewhere" => (StatusCode::FOUND, [(LOCATION, "/api/v1/query?query=one")]).into_response(),
        "endless" => " ".repeat(MAX_ANSWER + 1).into_response(),
        "fails" => ONE.replace("\"1\"", "\"0\"").into_response(),
        _ => ONE.into_response(),
    }
}

#[tokio::test]
async fn the_whole_query_arrives_below_the_address() {
    let server = Server::start().await;
    let query = "min(up{job=~\"a&b=c|ä\"}) == bool 1 # 100%\n+ 0";
    for path in ["", "/", "/below", "/below/"] {
        assert_eq!(server.ask(path, query).await, Answer::Holds, "{path:?}");
    }
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|parameters| parameters["query"] == query), "{asked:?}");
    assert!(asked.iter().all(|parameters| parameters["timeout"] == "5s"), "{asked:?}");
    assert!(matches!(server.ask("", "fails").await, Answer::Fails(_)));
}

#[tokio::test]
async fn no_redirect_is_followed_and_no_endless_answer_read() {
    let server = Server::start().await;
    for query in ["elsewhere", "endless"] {
        assert!(matches!(server.ask("", query).await, Answer::Unknown(_)), "{query}");
    }
    assert_eq!(server.asked.lock().unwrap().len(), 2);
    assert!(matches!(server.ask("/nowhere", "up").await, Answer::Unknown(_)));
}

#[tokio::test]
async fn who_does_not_answer_in_time_leaves_it_unknown() {
    let server = Server::start().await;
    let said = server.ask("", "hang").await;
    assert_eq!(said, Answer::Unknown("no answer within 5 s".into()));
}

#[tokio::test]
async fn an_address_where_nobody_listens_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let Answer::Unknown(why) = Prometheus::new(url.parse().unwrap()).unwrap().ask("up").await else {
        panic!("somebody answered");
    };
    assert!(why.contains("refused"), "{why}");
}
