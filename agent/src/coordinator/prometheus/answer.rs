//! What an answer of Prometheus' HTTP API says of a guard. Pure.
//!
//! | result | guard |
//! |---|---|
//! | a scalar, or a vector with at least one value, all of them numbers other than 0 | holds |
//! | one of the values is 0 | fails |
//! | no value; a value that is NaN or infinite; a range, a string, a histogram; warnings | unknown |
//! | another status than 200, no JSON, `"status": "error"` | unknown |

use hyper::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::rollout::Answer;

/// Characters of a server's complaint that are shown: it becomes part of a Sweep's status.
const SHOWN: usize = 200;
/// Notes on the query itself, which Prometheus 2.48 to 2.53 put among its warnings: that a counter's name does not end as
/// counters' do, for the most part. Everything else there means that part of the data is missing.
const NOTES: &str = "PromQL info";

/// <https://prometheus.io/docs/prometheus/latest/querying/api/#format-overview>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    status: String,
    data: Option<Data>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

/// Time and value; a native histogram has none.
type Point = (IgnoredAny, String);

#[derive(Deserialize)]
struct Sample {
    value: Option<Point>,
}

/// What an answer says.
pub(super) fn judge(status: StatusCode, body: &[u8]) -> Answer {
    match values(status, body) {
        Ok(values) => of_values(&values),
        Err(why) => Answer::Unknown(why),
    }
}

fn values(status: StatusCode, body: &[u8]) -> Result<Vec<f64>, String> {
    let parsed: Result<Body, _> = serde_json::from_slice(body);
    let body = match parsed {
        Ok(body) => body,
        Err(_) if status != StatusCode::OK => return Err(format!("Prometheus answered {status}")),
        Err(_) => return Err("Prometheus answered in a form that is not its API's".into()),
    };
    if status != StatusCode::OK || body.status != "success" {
        return Err(format!("Prometheus answered {status}: {}", shown(&body.error)));
    }
    if let Some(warning) = body.warnings.iter().find(|warning| !warning.starts_with(NOTES)) {
        return Err(format!("Prometheus warns: {}", shown(warning)));
    }
    let data = body.data.ok_or("Prometheus answered without data")?;
    let points = match data.result_type.as_str() {
        "scalar" => serde_json::from_value(data.result).map(|point: Point| vec![Some(point)]),
        "vector" => serde_json::from_value(data.result)
            .map(|samples: Vec<Sample>| samples.into_iter().map(|sample| sample.value).collect()),
        _ => return Err("its result is neither a scalar nor a vector".into()),
    };
    let points: Vec<Option<Point>> =
        points.map_err(|_| "Prometheus answered in a form that is not its API's")?;
    points.into_iter().map(number).collect()
}

fn number(point: Option<Point>) -> Result<f64, String> {
    let (_, value) = point.ok_or("a value of its result is a histogram")?;
    value.parse().map_err(|_| format!("{:?} is not a number", shown(&value)))
}

fn of_values(values: &[f64]) -> Answer {
    let zeros = values.iter().filter(|value| **value == 0.0).count();
    if zeros > 0 {
        return Answer::Fails(format!("{zeros} of {} values of its result are 0", values.len()));
    }
    if values.is_empty() {
        return Answer::Unknown("its result has no values".into());
    }
    if values.iter().any(|value| !value.is_finite()) {
        return Answer::Unknown("a value of its result is NaN or infinite".into());
    }
    Answer::Holds
}

fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(data: &str) -> Answer {
        judge(StatusCode::OK, format!(r#"{{"status":"success","data":{data}}}"#).as_bytes())
    }

    fn vector(values: &[&str]) -> Answer {
        let samples: Vec<_> = values
            .iter()
            .map(|value| format!(r#"{{"metric":{{"job":"a"}},"value":[1767225609.781,"{value}"]}}"#))
            .collect();
        judged(&format!(r#"{{"resultType":"vector","result":[{}]}}"#, samples.join(",")))
    }

    fn is_unknown(answer: &Answer) -> bool {
        matches!(answer, Answer::Unknown(_))
    }

    #[test]
    fn every_value_must_be_a_number_other_than_0() {
        for holds in [&["1"][..], &["0.001", "-3", "1e+06"]] {
            assert_eq!(vector(holds), Answer::Holds, "{holds:?}");
        }
        for fails in [&["0"][..], &["1", "0"], &["-0"], &["0", "NaN"]] {
            assert!(matches!(vector(fails), Answer::Fails(_)), "{fails:?}");
        }
        assert_eq!(vector(&["1", "0", "0"]), Answer::Fails("2 of 3 values of its result are 0".into()));
        for unknown in [&[][..], &["NaN"], &["1", "NaN"], &["+Inf"], &["-Inf"], &["many"]] {
            assert!(is_unknown(&vector(unknown)), "{unknown:?}");
        }
    }

    #[test]
    fn a_scalar_is_a_value_and_other_types_are_none() {
        assert_eq!(judged(r#"{"resultType":"scalar","result":[1767225609,"1"]}"#), Answer::Holds);
        assert!(matches!(judged(r#"{"resultType":"scalar","result":[1,"0"]}"#), Answer::Fails(_)));
        for other in [
            r#"{"resultType":"string","result":[1,"1"]}"#,
            r#"{"resultType":"matrix","result":[]}"#,
            r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1"}]}]}"#,
            r#"{"resultType":"vector","result":{}}"#,
            r#"{"resultType":"scalar","result":[1]}"#,
            "null",
        ] {
            assert!(is_unknown(&judged(other)), "{other}");
        }
    }

    #[test]
    fn whatever_is_no_answer_is_unknown_and_says_why() {
        let error = r#"{"status":"error","errorType":"bad_data","error":"parse error: \u0007 unexpected"}"#;
        let said = judge(StatusCode::BAD_REQUEST, error.as_bytes());
        assert_eq!(
            said,
            Answer::Unknown("Prometheus answered 400 Bad Request: parse error:  unexpected".into())
        );
        let good = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#;
        assert_eq!(judge(StatusCode::OK, good.as_bytes()), Answer::Holds);
        for (status, body) in
            [(500, good), (302, good), (204, ""), (200, ""), (200, "<html>"), (200, "{}"), (200, error)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(is_unknown(&judge(status, body.as_bytes())), "{status} {body}");
        }
    }

    #[test]
    fn a_result_with_parts_missing_is_unknown_and_a_note_on_the_query_is_nothing() {
        let warned = |warning: &str| {
            let body = format!(
                r#"{{"status":"success","data":{{"resultType":"scalar","result":[1,"1"]}},"warnings":["{warning}"]}}"#
            );
            judge(StatusCode::OK, body.as_bytes())
        };
        assert!(is_unknown(&warned("receive series from store: timeout")));
        assert_eq!(warned("PromQL info: metric might not be a counter"), Answer::Holds);
    }
}
