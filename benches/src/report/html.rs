//! The report as one HTML file that needs nothing but itself. It owns the order of the page and its words; what comes
//! from a result file enters it by `Page::text` alone.

use super::figures::{Column, columns, count, grouped, micros, remarks};
use super::model::{Group, Line, Merged};
use super::page::Page;
use super::plots::{self, MOST_LINES, Size};
use crate::fault::Fault;
use crate::result::RunResult;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn render(merged: &Merged) -> Result<String, Fault> {
    let groups = merged.groups();
    let mut page = Page::default();
    page.markup("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .markup("<title>auth-engine benchmarks</title>\n<style>\n")
        .markup(STYLE)
        .markup("</style>\n</head>\n<body>\n");
    heading(&mut page, merged, &groups);
    targets(&mut page, merged);
    for (at, group) in groups.iter().enumerate() {
        section(&mut page, at, group)?;
    }
    void(&mut page, merged);
    machine(&mut page, merged);
    method(&mut page);
    page.markup("</body>\n</html>\n");
    Ok(page.finish())
}

fn heading(page: &mut Page, merged: &Merged, groups: &[Group<'_>]) {
    page.markup("<header>\n<h1>Card authorization engine: benchmarks</h1>\n<p class=\"sub\">commit <code>");
    let commits = merged.commits();
    page.text(if commits.is_empty() { "unknown".to_owned() } else { commits.join(", ") }.as_str()).markup("</code>");
    if let Some((first, last)) = merged.span() {
        page.markup(", ").text(first);
        if first != last {
            page.markup(" to ").text(last);
        }
    }
    page.markup("</p>\n");
    if !merged.targets().is_empty() {
        page.markup("<p class=\"sum\">").text(&merged.verdict()).markup("</p>\n");
    }
    for warning in merged.warnings() {
        page.markup("<p class=\"warning\">").text(&warning).markup("</p>\n");
    }
    page.markup("<nav aria-label=\"Contents\">\n<a href=\"#targets\">targets</a>\n");
    for (at, group) in groups.iter().enumerate() {
        page.markup("<a href=\"#g").text(&at.to_string()).markup("\">").text(group.name).markup("</a>\n");
    }
    if !merged.void().is_empty() {
        page.markup("<a href=\"#void\">void results</a>\n");
    }
    page.markup("<a href=\"#machine\">machine</a>\n<a href=\"#method\">method</a>\n</nav>\n</header>\n");
}

fn targets(page: &mut Page, merged: &Merged) {
    page.markup("<h2 id=\"targets\">Targets</h2>\n");
    let lines = merged.targets();
    if lines.is_empty() {
        page.markup("<p>No result here has a target.</p>\n");
    } else {
        table_of_targets(page, &lines);
    }
    let unmeasured = merged.unmeasured();
    if !unmeasured.is_empty() {
        page.markup("<p class=\"warning\">Not measured here: ").text(&unmeasured.join("; ")).markup(".</p>\n");
    }
}

fn table_of_targets(page: &mut Page, lines: &[Line<'_>]) {
    page.markup("<div class=\"scroll\"><table class=\"words\">\n<thead><tr><th>target of</th><th>asked</th>")
        .markup("<th>got</th><th>verdict</th></tr></thead>\n<tbody>\n");
    for line in lines {
        page.markup("<tr><th scope=\"row\">").text(line.name).markup("</th><td>").text(line.asked);
        page.markup("</td><td>").text(line.got).markup("</td><td class=\"verdict ").text(line.verdict.word());
        page.markup("\">").text(line.verdict.word()).markup("</td></tr>\n");
    }
    page.markup("</tbody></table></div>\n");
}

fn section(page: &mut Page, at: usize, group: &Group<'_>) -> Result<(), Fault> {
    page.markup("<h2 id=\"g").text(&at.to_string()).markup("\">").text(group.name).markup("</h2>\n");
    let columns = columns(&group.results);
    if !columns.is_empty() {
        results(page, &columns, &group.results);
    }
    let remarks = group.results.iter().map(|result| (result, remarks(result))).filter(|(_, said)| !said.is_empty());
    let remarks: Vec<_> = remarks.collect();
    if !remarks.is_empty() {
        page.markup("<ul>\n");
        for (result, said) in remarks {
            page.markup("<li><strong>")
                .text(&result.name)
                .markup("</strong>: ")
                .text(&said.join("; "))
                .markup("</li>\n");
        }
        page.markup("</ul>\n");
    }
    percentiles(page, group)?;
    rates(page, group)?;
    timelines(page, group)?;
    stages(page, group)
}

fn results(page: &mut Page, columns: &[Column], results: &[&RunResult]) {
    page.markup("<div class=\"scroll\"><table class=\"wide-table\">\n<thead><tr><th>result</th>");
    for column in columns {
        page.markup("<th>").text(column.name).markup("</th>");
    }
    page.markup("</tr></thead>\n<tbody>\n");
    for result in results {
        page.markup("<tr><th scope=\"row\">").text(&result.name).markup("</th>");
        for column in columns {
            page.markup("<td>").text(&(column.cell)(result)).markup("</td>");
        }
        page.markup("</tr>\n");
    }
    page.markup("</tbody></table></div>\n");
}

fn percentiles(page: &mut Page, group: &Group<'_>) -> Result<(), Fault> {
    let curves: Vec<&RunResult> = group.results.iter().copied().filter(|result| !result.curve.is_empty()).collect();
    // More lines than colours would be guesswork: they go on in a further drawing.
    for some in curves.chunks(MOST_LINES) {
        page.markup("<h3>Latency by percentile</h3>\n<figure>\n<ul class=\"legend\">\n");
        for (at, result) in some.iter().enumerate() {
            key(page, "", at, &result.name);
        }
        if some.iter().any(|result| !result.floor_curve.is_empty()) {
            page.markup("<li><span class=\"key dashed kf\"></span>floor of the same run</li>\n");
        }
        if some.iter().any(|result| result.floor_curve.is_empty() && result.floor_p50_us > 0.0) {
            page.markup("<li><span class=\"key hollow\"></span>floor of the same run, p50 and p99</li>\n");
        }
        page.markup("</ul>\n");
        let says = "Latency in microseconds over the percentile, one line for each result; the figures are in the table above.";
        both(page, says, |size| plots::percentiles(some, size))?;
        page.markup("<figcaption>How slow the slow ones are: each step to the right is ten times rarer. ")
            .markup("Latency counts from the moment a message was due, not from when it left, so a server that ")
            .markup("stalls cannot hide; lines end where fewer than ten replies are left to tell.</figcaption>\n</figure>\n");
    }
    Ok(())
}

fn rates(page: &mut Page, group: &Group<'_>) -> Result<(), Fault> {
    let Some((wide, names)) = plots::rates(&group.results, Size::WIDE)? else { return Ok(()) };
    page.markup("<h3>Latency by throughput</h3>\n<figure>\n<ul class=\"legend\">\n");
    for (at, name) in names.iter().enumerate() {
        key(page, "", at, name);
    }
    page.markup("<li><span class=\"key\"></span>W99</li>\n<li><span class=\"key dashed\"></span>W50</li>\n")
        .markup("<li><span class=\"key hollow\"></span>past the knee: under 99 % of what was offered came back good</li>\n</ul>\n");
    let says = "W50 and W99 in microseconds over messages per second; the figures are in the table above.";
    page.drawing("wide", &wide, says);
    if let Some((narrow, _)) = plots::rates(&group.results, Size::NARROW)? {
        page.drawing("narrow", &narrow, says);
    }
    page.markup("<figcaption>Of an open loop the rate is what was offered, of a closed one what came out. W50 and W99 ")
        .markup("are the medians over 100 ms windows of a window's p50 and p99: a disk that stalls for a moment spoils ")
        .markup("single windows, not the figure. Where a result has no windows, it is the whole run's p50 and p99.</figcaption>\n</figure>\n");
    Ok(())
}

fn timelines(page: &mut Page, group: &Group<'_>) -> Result<(), Fault> {
    let open: Vec<&RunResult> =
        group.results.iter().copied().filter(|result| result.shape == "open" && result.windows.len() > 1).collect();
    if open.is_empty() {
        return Ok(());
    }
    page.markup("<h3>Over time</h3>\n<ul class=\"legend\">\n");
    key(page, "", 0, "p50 of a window");
    key(page, "", 1, "p99 of a window");
    page.markup("<li><span class=\"key kf\"></span>replies in a window</li>\n</ul>\n<div class=\"many\">\n");
    let frame = plots::frame(&open);
    for result in open {
        let drawn = plots::timeline(result, &frame, Size::NARROW)?;
        page.markup("<figure><h4>").text(&result.name).markup("</h4>\n");
        page.drawing(
            "each",
            &drawn,
            "p50 and p99 of each 100 ms window, and the replies in it, over the seconds of the run",
        );
        page.markup("</figure>\n");
    }
    page.markup("</div>\n<p class=\"muted\">Windows of 100 ms, by the time at which a message was due; the latency ")
        .markup("scale is the same in all. The warm-up is not shown and not counted.</p>\n");
    Ok(())
}

fn stages(page: &mut Page, group: &Group<'_>) -> Result<(), Fault> {
    let shares = plots::shares(&group.results);
    if shares.is_empty() {
        return Ok(());
    }
    let (wide, parts) = plots::stages(&shares, Size::WIDE.width)?;
    let (narrow, _) = plots::stages(&shares, Size::NARROW.width)?;
    page.markup("<h3>Where the time of a tap goes</h3>\n<figure>\n<ul class=\"legend\">\n");
    for (at, part) in parts.iter().enumerate() {
        key(page, "block", plots::our_color(at), part);
    }
    key(page, "block", plots::PARTNER_COLOR, "the partner's, apart from ours");
    page.markup("<li><span class=\"key mark\"></span>median of the total</li>\n</ul>\n");
    let says = "Median microseconds of each stage of a tap as stacked bars; the figures are in the table below.";
    page.drawing("wide", &wide, says).drawing("narrow", &narrow, says);
    page.markup("<figcaption>As the engine's own trace measured it, from the frame to the reply on the socket: ours in ")
        .markup("one bar, the wait for the partner in another. Medians of parts do not add up to the median of the ")
        .markup("whole, which is the mark.</figcaption>\n<div class=\"scroll\"><table>\n<thead><tr><th>result</th><th>stage</th>")
        .markup("<th>p50 µs</th><th>p99 µs</th></tr></thead>\n<tbody>\n");
    for result in &group.results {
        for (stage, p50, p99) in &result.stages {
            page.markup("<tr><td>").text(&result.name).markup("</td><td>").text(stage);
            page.markup("</td><td>").text(&micros(*p50)).markup("</td><td>").text(&micros(*p99)).markup("</td></tr>\n");
        }
    }
    page.markup("</tbody></table></div>\n</figure>\n");
    Ok(())
}

/// An entry of a legend in the colour of the nth line.
fn key(page: &mut Page, class: &'static str, at: usize, name: &str) {
    page.markup("<li><span class=\"key ").markup(class).markup(" k").text(&at.to_string());
    page.markup("\"></span>").text(name).markup("</li>\n");
}

/// A drawing for a desk and the same for a telephone; the style sheet shows one of them.
fn both(page: &mut Page, says: &str, draw: impl Fn(Size) -> Result<plots::Svg, Fault>) -> Result<(), Fault> {
    page.drawing("wide", &draw(Size::WIDE)?, says).drawing("narrow", &draw(Size::NARROW)?, says);
    Ok(())
}

fn void(page: &mut Page, merged: &Merged) {
    let void = merged.void();
    if void.is_empty() {
        return;
    }
    page.markup(
        "<h2 id=\"void\">Void results</h2>\n<p>Declared void by the generator itself, for the reason given: not ",
    )
    .markup("plotted, in no table above, and not to be quoted.</p>\n<div class=\"scroll\"><table class=\"words\">\n")
    .markup("<thead><tr><th>result</th><th>why</th><th>what it would have said</th></tr></thead>\n<tbody>\n");
    for (result, why) in void {
        let would = format!(
            "{}/s offered, {} sent, {} answered, p50 {}, p99 {}, W99 {} µs, send lag W99 {} µs",
            count(result.rate_per_s),
            grouped(result.sent),
            grouped(result.answered),
            micros(result.p50_us),
            micros(result.p99_us),
            micros(result.w99_us),
            micros(result.lag_w99_us),
        );
        page.markup("<tr><th scope=\"row\"><del>").text(&result.name).markup("</del></th><td>").text(why);
        page.markup("</td><td><del>").text(&would).markup("</del></td></tr>\n");
    }
    page.markup("</tbody></table></div>\n");
}

fn machine(page: &mut Page, merged: &Merged) {
    page.markup(
        "<h2 id=\"machine\">Machine and build</h2>\n<div class=\"scroll\"><table class=\"words facts\"><tbody>\n",
    );
    for (name, values) in merged.machine() {
        page.markup("<tr><th scope=\"row\">").text(name).markup("</th><td>").text(&values.join("; also "));
        page.markup("</td></tr>\n");
    }
    page.markup("</tbody></table></div>\n");
    let flags = merged.flags();
    if !flags.is_empty() {
        page.markup("<h3>Commands</h3>\n<ul>\n");
        for command in flags {
            page.markup("<li><code>benches ").text(command).markup("</code></li>\n");
        }
        page.markup("</ul>\n");
    }
}

fn method(page: &mut Page) {
    page.markup("<h2 id=\"method\">Method</h2>\n")
        .markup("<p>The generator speaks ISO 8583 to the real binary over real sockets on loopback, on the same processors. ")
        .markup("In an open loop the arrivals are fixed before the run, and a message's latency counts from the moment it ")
        .markup("was due; in a closed loop a fixed number is in flight and each reply lets the next message go.</p>\n")
        .markup("<p>W50 and W99 are the medians over windows of 100 ms of the window's p50 and p99. The floor is a server ")
        .markup("that does the least a durable answer can cost: it reads the same bytes, appends them to a file of zeros, ")
        .markup("syncs, and answers; it is measured in the same run, in turns, because the disk's mood changes.</p>\n")
        .markup("<p>Left out of every figure: the network beyond loopback, TLS, the warm-up. A run whose own sending ")
        .markup("lagged too far behind its plan is void.</p>\n");
}
