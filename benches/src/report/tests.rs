//! The report on made-up results: what a reader must find, and what no result file may bring into the page.

use super::model::{Merged, Verdict, line_of};
use super::{html, read, text};
use crate::result::RunResult;
use std::fs;
use std::path::PathBuf;

/// Figures that nobody measured, for the shapes of the page alone.
const MADE_UP: &str = include_str!("../../tests/fixtures/made-up-results.json");

fn merged() -> Merged {
    Merged::new(read::documents(MADE_UP.as_bytes()).expect("the fixture is a result file"))
}

fn page() -> String {
    html::render(&merged()).expect("the fixture can be drawn")
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let page = page();
    for outside in ["http:", "https:", "src=", "@import", "url(", "<link", "<script", "<iframe", "<object"] {
        // Escaped text of a result may hold these words; markup and style may not.
        let found = page.match_indices(outside).any(|(at, _)| !page[..at].ends_with("&lt;img "));
        assert!(!found, "the page holds {outside}");
    }
    for link in page.split("href=\"").skip(1) {
        assert!(link.starts_with('#'), "a link leaves the page: {}", &link[..link.len().min(40)]);
    }
}

#[test]
fn names_and_notes_of_a_file_stay_text() {
    let page = page();
    assert!(page.contains("a name with &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;quotes&quot;"));
    assert!(page.contains("&lt;/ul&gt;&lt;img src=x onerror=alert(1)&gt;"));
    assert!(page.contains("<h2 id=\"g5\">odd &lt;b&gt;names&lt;/b&gt;</h2>"), "{:?}", page.find("odd &lt;b&gt;"));
}

#[test]
fn every_element_that_is_opened_is_closed() {
    let page = page();
    for name in
        ["svg", "figure", "table", "thead", "tbody", "tr", "td", "th", "ul", "li", "div", "p", "del", "h3", "text"]
    {
        let opened = page.matches(&format!("<{name}>")).count() + page.matches(&format!("<{name} ")).count();
        assert_eq!(opened, page.matches(&format!("</{name}>")).count(), "<{name}>");
    }
}

#[test]
fn bad_news_comes_first_in_the_table_of_targets() {
    let merged = merged();
    let verdicts: Vec<Verdict> = merged.targets().iter().map(|line| line.verdict).collect();
    assert!(verdicts.is_sorted());
    for verdict in [Verdict::Missed, Verdict::Failed, Verdict::Void, Verdict::Met] {
        assert!(verdicts.contains(&verdict), "{verdict:?}");
    }
    assert_eq!(merged.verdict(), "4 of 8 targets met, 3 missed, 1 void; 1 part could not run");
    // A void run meets nothing, whatever its figures say.
    let void = merged.targets().into_iter().find(|line| line.verdict == Verdict::Void).expect("there is one");
    assert!(void.got.contains("send lag"), "{}", void.got);
}

#[test]
fn void_results_stand_apart_struck_through_with_the_reason() {
    let page = page();
    let (before, after) = page.split_once("<h2 id=\"void\">").expect("a section of void results");
    assert!(after.contains("<del>webhook 50000/s</del>"));
    assert!(after.contains("send lag W99 812 µs is over the limit"));
    // In the targets it is named as void; in no table of results, no legend and no drawing.
    let sections = before.split_once("<h2 id=\"g0\">").expect("sections of results").1;
    assert!(!sections.contains("webhook 50000/s"));
    assert!(merged().groups().iter().flat_map(|group| &group.results).all(|result| result.void.is_none()));
}

#[test]
fn every_kind_of_drawing_is_there_with_its_explanation() {
    let page = page();
    for (heading, words) in [
        ("Latency by percentile", "from the moment a message was due"),
        ("Latency by throughput", "W50 and W99"),
        ("Over time", "Windows of 100 ms"),
        ("Where the time of a tap goes", "the wait for the partner in another"),
    ] {
        let (_, after) = page.split_once(&format!("<h3>{heading}</h3>")).expect(heading);
        assert!(after.contains("<svg class=") && after.contains(words), "{heading}");
    }
    // The open results with windows, each drawn once; the void one is not among them.
    assert_eq!(page.matches("<svg class=\"each\"").count(), 9);
}

#[test]
fn the_text_names_every_result_that_may_be_used() {
    let merged = merged();
    let text = text::render(&merged);
    for group in merged.groups() {
        for result in &group.results {
            assert!(text.contains(&result.name), "{}", result.name);
        }
    }
    assert!(text.contains("4 of 8 targets met"));
    assert!(text.contains("commit: 0000000"));
    assert!(text.contains("not measured here: most taps, closed loop, 512 in flight; tap with a partner"));
}

#[test]
fn merged_json_keeps_the_figures_as_they_were() {
    let json = merged().json();
    assert_eq!(json["results"][0]["name"], "account-funded tap");
    assert_eq!(json["results"][0]["p50_us"], 111.1);
    assert_eq!(json["targets"][0]["verdict"], "missed");
    assert_eq!(json["documents"].as_array().map(Vec::len), Some(2));
}

#[test]
fn nothing_to_show_is_a_page_too() {
    let empty = Merged::new(read::documents(br#"{"results":[]}"#).expect("no results are results"));
    assert!(html::render(&empty).expect("a page").contains("No result here has a target."));
    assert!(text::render(&empty).contains("no result here has a target"));
    // All that a drawing is made of may be absent or zero.
    let bare = br#"{"results":[{"name":"a","shape":"open","sent":1,"curve":[[1.0,5.0]],"windows":[{},{}],"stages":[["total",0,0]]}]}"#;
    html::render(&Merged::new(read::documents(bare).expect("a result"))).expect("a page");
}

#[test]
fn a_file_that_is_not_a_result_file_is_refused_in_one_line_that_names_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty.json", b"", "it is empty"),
        ("text.json", b"results: none\n", "not JSON"),
        ("cut.json", br#"{"results":[{"name":"a""#, "not JSON"),
        ("other.json", br#"{"machine":"a","engine":{}}"#, "without `results`"),
        ("shape.json", br#"{"results":[{"sent":"many"}]}"#, "another shape"),
        ("bytes.json", b"\xff\xfe\x00", "not JSON"),
    ];
    for (name, bytes, why) in cases {
        let path = dir.path().join(name);
        fs::write(&path, bytes).expect("a file");
        let said = read::files(&[path]).expect_err(name).to_string();
        assert!(said.contains(name) && said.contains(why) && !said.contains('\n'), "{said}");
    }
    let absent = read::files(&[PathBuf::from("/nowhere/results.json")]).expect_err("absent").to_string();
    assert!(absent.contains("/nowhere/results.json"), "{absent}");
}

#[test]
fn steps_of_a_ladder_share_a_name() {
    let of = |name: &str| line_of(&RunResult { name: name.to_owned(), ..RunResult::default() }).to_owned();
    assert_eq!(of("hot pool 100000/s"), "hot pool");
    assert_eq!(of("PostgreSQL, 16 clients"), "PostgreSQL");
    assert_eq!(of("taps"), "taps");
    assert_eq!(of("512 in flight"), "512 in flight");
    assert_eq!(of(""), "");
}
