use super::*;

fn line(step: u64) -> Metrics {
    Metrics {
        step,
        tokens: step * 10,
        seconds: step as f64,
        train_loss: 1.0 / step as f64,
        learning_rate: 1e-3,
        grad_norm: 0.1,
        skipped: step / 3,
        tokens_per_second: 5.0,
        val_loss: (step == 2).then_some(0.1 + 0.2),
        val_bits_per_byte: None,
    }
}

#[test]
fn the_columns_are_all_there_is() {
    let line = Metrics {
        skipped: 1,
        val_bits_per_byte: Some(1.0),
        ..line(2)
    };
    let serde_json::Value::Object(fields) = serde_json::to_value(line).unwrap() else {
        panic!("a line is an object");
    };
    let mut columns: Vec<_> = Metrics::COLUMNS.map(|(name, _)| name).to_vec();
    columns.push("step");
    columns.sort_unstable();
    assert_eq!(columns, fields.keys().collect::<Vec<_>>());
    for (name, value) in Metrics::COLUMNS {
        assert_eq!(value(&line), fields[name].as_f64(), "{name}");
    }
}

#[test]
fn lines_after_the_checkpoint_and_torn_lines_are_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let mut log = MetricsLog::open(&path).unwrap();
    for step in 1..=4 {
        log.append(line(step)).unwrap();
    }
    drop(log);
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{{\"step\": 5, \"tok")).unwrap();
    let mut log = MetricsLog::open(&path).unwrap();
    assert_eq!(log.history(), [1, 2, 3, 4].map(line));
    log.take_back(4).unwrap();
    drop(log);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    let mut log = MetricsLog::open(&path).unwrap();
    log.take_back(2).unwrap();
    log.append(line(3)).unwrap();
    log.append(line(4)).unwrap();
    drop(log);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let _log = MetricsLog::open(&path).unwrap();
    assert!(matches!(
        MetricsLog::open(&path),
        Err(MetricsError::InUse { .. })
    ));
}
