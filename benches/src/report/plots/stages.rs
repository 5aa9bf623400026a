//! Where a tap's time goes, as the engine measured it: ours in one bar, the partner's in another. It must never add
//! the partner's time to ours.

use super::{Area, Axis, Drawn, FINE, GRID, INK, Size, Svg, chart, color, fine, sheet, words};
use crate::fault::Fault;
use crate::result::RunResult;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The stage that is not ours.
const PARTNER: &str = "partner";
/// The stage that is the whole, not a part.
const TOTAL: &str = "total";

/// The medians of one result's stages.
pub(in crate::report) struct Share<'a> {
    name: &'a str,
    ours: Vec<(&'a str, f64)>,
    partner: f64,
    total: f64,
}

/// The place in the palette of the partner's bar.
pub(in crate::report) const PARTNER_COLOR: usize = 1;

/// The place in the palette of the nth part of ours: any but the partner's.
pub(in crate::report) fn our_color(part: usize) -> usize {
    const OURS: [usize; 6] = [0, 2, 5, 4, 3, 6];
    OURS.get(part % OURS.len()).copied().unwrap_or(0)
}

/// Results whose stages were measured.
pub(in crate::report) fn shares<'a>(results: &[&'a RunResult]) -> Vec<Share<'a>> {
    let traced = results.iter().filter(|result| !result.stages.is_empty());
    let share = |result: &&'a RunResult| {
        let of = |name: &str| result.stages.iter().find(|(stage, ..)| stage == name).map_or(0.0, |(_, p50, _)| *p50);
        let ours = result.stages.iter().filter(|(stage, ..)| stage != PARTNER && stage != TOTAL);
        let ours = ours.map(|(stage, p50, _)| (stage.as_str(), p50.max(0.0))).collect();
        Share { name: &result.name, ours, partner: of(PARTNER), total: of(TOTAL) }
    };
    traced.map(share).collect()
}

/// The names of the parts in the order of their colours, the partner's last.
fn parts<'a>(shares: &[Share<'a>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for (stage, _) in shares.iter().flat_map(|share| &share.ours) {
        if !names.contains(stage) {
            names.push(stage);
        }
    }
    names
}

/// Bars with the names of their parts; `width` is the page's.
pub(in crate::report) fn stages<'a>(shares: &[Share<'a>], width: u32) -> Result<(Svg, Vec<&'a str>), Fault> {
    const ROW: u32 = 62;
    const HEAD: u32 = 22;
    const FOOT: u32 = 44;
    let parts = parts(shares);
    let rows = u32::try_from(shares.len()).unwrap_or(0);
    let longest =
        shares.iter().map(|share| share.ours.iter().map(|(_, us)| us).sum::<f64>().max(share.partner).max(share.total));
    let x = Axis::linear(0.0, longest.fold(1.0, f64::max), if width > 500 { 8.0 } else { 4.0 });
    let size = Size { width, height: HEAD + rows * ROW + FOOT };
    let draw = |area: &Area<'_>| -> Drawn {
        // The chart's own ticks on the left are empty: a row's name stands above its bars, where there is room.
        let y = Axis { from: 0.0, to: f64::from(rows), ticks: Vec::new() };
        let mut chart = chart(area, &x, &y, "median, µs", "")?;
        for (row, share) in shares.iter().enumerate() {
            let top = f64::from(rows) - row as f64;
            let bar = |from: f64, to: f64, above: f64, below: f64, color: RGBColor| {
                Rectangle::new([(from, top - above), (to, top - below)], color.filled())
            };
            let mut at = 0.0;
            for (stage, us) in &share.ours {
                let part = parts.iter().position(|part| part == stage).unwrap_or(0);
                chart.draw_series([bar(at, at + us, 0.36, 0.62, color(our_color(part)))])?;
                at += us;
            }
            if share.partner > 0.0 {
                chart.draw_series([bar(0.0, share.partner, 0.66, 0.88, color(PARTNER_COLOR))])?;
            }
            if share.total > 0.0 {
                let tick = PathElement::new(
                    [(share.total, top - 0.30), (share.total, top - 0.92)],
                    INK.stroke_width(2 * FINE),
                );
                chart.draw_series([tick])?;
            }
            let rule = PathElement::new([(0.0, top), (x.to, top)], GRID.stroke_width(FINE));
            chart.draw_series([rule])?;
            let (left, above) = chart.backend_coord(&(0.0, top));
            let style = words(11.5, &INK).pos(Pos::new(HPos::Left, VPos::Top));
            area.draw_text(share.name, &style, (left + fine(4), above + fine(6)))?;
        }
        Ok(())
    };
    Ok((sheet(size, draw)?, parts))
}
