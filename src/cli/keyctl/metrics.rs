//! `servos-keyctl metrics`: what the socket of the metrics tells, for monitoring that reads files or runs commands.
//!
//! Must never print half of it: a file of metrics that ends early would hide what is overdue.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::socket::SocketArguments;
use crate::cli::failure::Failure;
use crate::rpc::metrics::families;
use crate::telemetry::metrics::Metric;
use crate::telemetry::open_metrics::{self, Family, Number, Sample};
use serde_json::{Map, Value, json};

/// Prints the metrics of the daemon's status.
pub(super) async fn run(console: &mut Console, socket: &SocketArguments) -> Result<(), Failure> {
    let families = families(&socket.admin().status().await?);
    console.result(&value(&families), &open_metrics::text(&families))
}

fn value(families: &[Family]) -> Value {
    let family = |Family { metric, samples }: &Family| {
        let Metric { kind, name, unit, help } = metric;
        let samples: Vec<Value> = samples.iter().map(|one| sample(name, one)).collect();
        json!({"name": name, "type": kind.as_str(), "unit": unit, "help": help, "samples": samples})
    };
    json!({"metrics": families.iter().map(family).collect::<Vec<_>>()})
}

fn sample(name: &str, Sample { suffix, labels, number }: &Sample) -> Value {
    let labels: Map<String, Value> = labels.iter().map(|(label, value)| ((*label).to_owned(), json!(value))).collect();
    json!({"name": format!("{name}{suffix}"), "labels": labels, "value": number_value(*number)})
}

/// JSON has no number that is more than any: null stands for it.
fn number_value(number: Number) -> Value {
    match number {
        Number::Signed(number) => json!(number),
        Number::Unsigned(number) => json!(number),
        Number::Microseconds(_) => number.to_string().parse::<f64>().map_or(Value::Null, |seconds| json!(seconds)),
        Number::Infinite => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{CallStatus, GetStatusResponse, OperationStatus};

    #[test]
    fn json_has_the_same_names_and_numbers_as_the_text() {
        let one = OperationStatus {
            operation: "Encrypt".into(),
            calls: 3,
            total_us: 1_500_000,
            buckets: vec![1, 2],
            ..OperationStatus::default()
        };
        let calls = CallStatus { bounds_us: vec![10], operations: vec![one], ..CallStatus::default() };
        let families = families(&GetStatusResponse { calls: Some(calls), ..GetStatusResponse::default() });
        let (text, shown) = (open_metrics::text(&families), value(&families));
        let mut seen = 0;
        for sample in shown["metrics"].as_array().unwrap().iter().flat_map(|one| one["samples"].as_array().unwrap()) {
            let name = sample["name"].as_str().unwrap();
            let number = match &sample["value"] {
                Value::Null => "+Inf".to_owned(),
                number => number.to_string(),
            };
            let line = text.lines().any(|line| line.starts_with(name) && line.ends_with(&format!(" {number}")));
            assert!(line, "{sample}");
            seen += 1;
        }
        assert_eq!(seen, text.lines().filter(|line| !line.starts_with('#')).count());
        assert!(shown.to_string().contains("\"le\":\"1e-05\"") && shown.to_string().contains("1.5"));
    }
}
