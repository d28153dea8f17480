//! `minigpt inspect --attention`: a page with a map for each head.

use std::fs;

use tempfile::TempDir;

use crate::generation::storyteller;
use crate::inference::{json, run, stdout, trained};
use crate::{assert_refused, stderr};

/// The maps of a page: the digits of each.
fn maps(page: &str) -> Vec<Vec<u8>> {
    let digits = page.split("data-weights=\"").skip(1);
    let digits = digits.map(|rest| rest.split('"').next().unwrap().as_bytes());
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits
        .map(|digits| digits.chunks(2).map(byte).collect())
        .collect()
}

#[test]
fn every_head_has_a_map_of_shares() {
    let (dir, model) = (TempDir::new().unwrap(), storyteller());
    let prompt = "<Lily> & \"Max\" had a red ball.";
    let args = ["inspect", &model, "--attention", prompt, "-o", "heads.html"];
    assert!(stderr(&run(dir.path(), &args)).contains("wrote heads.html"));
    let page = fs::read_to_string(dir.path().join("heads.html")).unwrap();
    let config = json(&run(dir.path(), &["inspect", &model, "--json"]))["config"].clone();
    let heads = config["n_layer"].as_u64().unwrap() * config["n_head"].as_u64().unwrap();
    let names = page
        .split("id=\"tokens\">")
        .nth(1)
        .unwrap()
        .split("</script>")
        .next()
        .unwrap();
    let names: Vec<String> = serde_json::from_str(names).unwrap();
    assert!(names.concat().ends_with(prompt), "{names:?}");
    assert!(page.contains("&lt;Lily&gt; &amp; &quot;Max&quot;") && !page.contains("<Lily>"));
    let maps = maps(&page);
    assert_eq!(maps.len() as u64, heads);
    for map in maps {
        assert_eq!(map.len(), names.len() * names.len());
        for (t, row) in map.chunks(names.len()).enumerate() {
            let sum: i32 = row[..=t].iter().map(|share| i32::from(*share)).sum();
            assert!((sum - 255).abs() <= 1 + t as i32 / 2, "{row:?}");
            assert!(row[t + 1..].iter().all(|share| *share == 0));
        }
    }
    // To standard output, the same.
    assert_eq!(stdout(&run(dir.path(), &args[..4])), page);
}

#[test]
fn what_cannot_be_drawn_is_one_sentence() {
    let model = trained().join("runs/fish");
    let model = model.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 4] = [
        (
            &["--attention", "red", "--json"],
            &["--attention and --json contradict"],
        ),
        (&["-o", "x.html"], &["-o does nothing without --attention"]),
        (
            &["--attention", "one fish two fish"],
            &["17 tokens", "holds 16"],
        ),
        (&["--attention", "shark"], &["leave it out of --attention"]),
    ];
    for (args, words) in cases {
        let args = [&["inspect", model], args].concat();
        assert_refused(&run(trained(), &args), 2, words);
    }
}
