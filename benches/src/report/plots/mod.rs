//! The drawings of the report. This file owns the sheet that all of them are drawn on: sizes, colours, axes, and how
//! a drawing becomes part of a page. It must never draw a void result; the model does not hand them over.

mod percentiles;
mod rates;
mod stages;
mod timeline;

pub(super) use percentiles::percentiles;
pub(super) use rates::rates;
pub(super) use stages::{PARTNER_COLOR, our_color, shares, stages};
pub(super) use timeline::{frame, timeline};

use crate::fault::Fault;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::io;

/// Drawn units of one pixel of the page: the backend knows whole units only, and lines of whole pixels are jagged.
const FINE: u32 = 4;

/// The backend's font size of one pixel of the page.
const FONT: f64 = 1.24 * FINE as f64;

// The page's style sheet maps each of these to a variable, because dark paper wants other shades.
/// Text.
const INK: RGBColor = RGBColor(0x1F, 0x29, 0x33);
/// Axes, and what stands in for a floor.
const MUTED: RGBColor = RGBColor(0x6B, 0x72, 0x80);
/// Grid lines.
const GRID: RGBColor = RGBColor(0xDF, 0xE3, 0xE8);
/// The paper, for the inside of a hollow point.
const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFE);

/// Okabe and Ito's colours, which everyone can tell apart, without the yellow that no paper carries.
const COLORS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x1F, 0x29, 0x33),
];

/// Lines in one drawing that can still be told apart.
pub(super) const MOST_LINES: usize = COLORS.len();

/// A drawing without its outer element, which the page writes.
pub(super) struct Svg {
    /// Width and height of what is drawn on.
    pub(super) view: (u32, u32),
    /// The elements.
    pub(super) inner: String,
}

/// How large a drawing is on the page, in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Across.
    pub(super) width: u32,
    /// Down.
    pub(super) height: u32,
}

impl Size {
    /// For a page as wide as a desk.
    pub(super) const WIDE: Size = Size { width: 960, height: 380 };
    /// For a telephone, and for one of many.
    pub(super) const NARROW: Size = Size { width: 380, height: 280 };

    fn fine(self) -> (u32, u32) {
        (self.width * FINE, self.height * FINE)
    }
}

/// What is drawn on.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<io::Error>>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;

/// Draws on a fresh sheet.
fn sheet(size: Size, draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<Svg, Fault> {
    let mut out = String::new();
    {
        let area = SVGBackend::with_string(&mut out, size.fine()).into_drawing_area();
        draw(&area)
            .and_then(|()| area.present())
            .map_err(|error| Fault::Results(format!("a plot could not be drawn: {error}")))?;
    }
    // The outer element is written anew: with a name for readers that hear the page, and without a fixed size.
    let inner = out.split_once('>').map_or("", |(_, rest)| rest);
    let inner = inner.trim_end().strip_suffix("</svg>").unwrap_or(inner);
    Ok(Svg { view: size.fine(), inner: inner.to_owned() })
}

/// A range with the places and the words of its ticks, in the units that are drawn: of a logarithmic axis, exponents.
#[derive(Debug, Clone, PartialEq)]
struct Axis {
    from: f64,
    to: f64,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A logarithmic axis around these values: 1, 2 and 5 of each decade when they are few, else each decade.
    fn log(values: impl Iterator<Item = f64> + Clone) -> Axis {
        let values = values.filter(|value| value.is_finite() && *value > 0.0);
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        let (least, most) = if least <= most { (least, most) } else { (1.0, 10.0) };
        let decades = (least / 1.15).log10().floor() as i32..=(most * 1.15).log10().ceil() as i32;
        let steps: Vec<f64> =
            decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(decade))).collect();
        // The axis begins at the last step below the values and ends at the first above them.
        let from = steps.iter().copied().rfind(|step| *step <= least / 1.05).unwrap_or(least / 1.15);
        let to = steps.iter().copied().find(|step| *step >= most * 1.05).unwrap_or(most * 1.15);
        let inside = |step: &f64| (from..=to).contains(step);
        let fine: Vec<f64> = steps.iter().copied().filter(inside).collect();
        let ticks = if fine.len() <= 7 { fine } else { fine.into_iter().filter(|step| is_decade(*step)).collect() };
        Axis {
            from: from.log10(),
            to: to.log10(),
            ticks: ticks.into_iter().map(|step| (step.log10(), crate::report::figures::tick(step))).collect(),
        }
    }

    /// A linear axis from zero, or from `from`, in round steps.
    fn linear(from: f64, most: f64, about: f64) -> Axis {
        let span = if most > from { most - from } else { 1.0 };
        let rough = span / about;
        let decade = 10f64.powi(rough.log10().floor() as i32);
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * decade).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let count = ((span / step).ceil() as u32).min(50);
        let ticks = (0..=count).map(|at| from + f64::from(at) * step);
        let ticks: Vec<_> = ticks.map(|tick| (tick, crate::report::figures::tick(tick))).collect();
        Axis { from, to: from + f64::from(count) * step, ticks }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.from) / (self.to - self.from);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Ticks are where the axis says; there are none between them.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.iter().map(|(at, _)| *at).collect() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let tick = self.ticks.iter().find(|(at, _)| at == value);
        tick.map_or_else(String::new, |(_, words)| words.clone())
    }
}

fn is_decade(value: f64) -> bool {
    let exponent = value.log10();
    (exponent - exponent.round()).abs() < 1e-9
}

/// Axes, grid and their words; what is measured on an axis stands at its end, where it can be read upright.
fn chart<'a>(area: &Area<'a>, x: &Axis, y: &Axis, x_says: &str, y_says: &str) -> Drawn<Chart<'a>> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(22 * FINE)
        .margin_right(28 * FINE)
        .margin_bottom(if x_says.is_empty() { 2 * FINE } else { 20 * FINE })
        .margin_left(2 * FINE)
        .x_label_area_size(22 * FINE)
        .y_label_area_size(54 * FINE)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .bold_line_style(GRID.stroke_width(FINE))
        .axis_style(MUTED.stroke_width(FINE))
        .set_all_tick_mark_size(3 * FINE)
        .label_style(words(11.0, &MUTED))
        .draw()?;
    let (width, height) = area.dim_in_pixel();
    say(area, y_says, (4, 2), HPos::Left, VPos::Top)?;
    if !x_says.is_empty() {
        say(area, x_says, (width / FINE - 28, height / FINE - 4), HPos::Right, VPos::Bottom)?;
    }
    Ok(chart)
}

/// Text in pixels of the page.
fn words(size: f64, color: &'static RGBColor) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size * FONT).into_font()).color(color)
}

/// Writes at a pixel of the page.
fn say(area: &Area<'_>, text: &str, at: (u32, u32), h: HPos, v: VPos) -> Drawn {
    let at = (fine(at.0), fine(at.1));
    area.draw_text(text, &words(11.5, &INK).pos(Pos::new(h, v)), at)
}

/// A pixel of the page in drawn units.
fn fine(pixel: u32) -> i32 {
    i32::try_from(pixel * FINE).unwrap_or(i32::MAX)
}

/// A line in full.
fn line<'a>(chart: &mut Chart<'a>, points: Vec<(f64, f64)>, color: RGBColor, width: u32) -> Drawn {
    chart.draw_series(LineSeries::new(points, color.stroke_width(width)))?;
    Ok(())
}

/// A line of dashes.
fn dashes<'a>(chart: &mut Chart<'a>, points: Vec<(f64, f64)>, color: RGBColor, width: u32) -> Drawn {
    chart.draw_series(DashedLineSeries::new(points, 6 * FINE, 4 * FINE, color.stroke_width(width)))?;
    Ok(())
}

/// Points; hollow ones say that something is different about them.
fn points<'a>(chart: &mut Chart<'a>, at: &[(f64, f64)], color: RGBColor, radius: u32, hollow: bool) -> Drawn {
    if hollow {
        chart.draw_series(at.iter().map(|at| Circle::new(*at, radius, PAPER.filled())))?;
        chart.draw_series(at.iter().map(|at| Circle::new(*at, radius, color.stroke_width(FINE * 3 / 2))))?;
    } else {
        chart.draw_series(at.iter().map(|at| Circle::new(*at, radius, color.filled())))?;
    }
    Ok(())
}

/// The colour of the nth line.
fn color(at: usize) -> RGBColor {
    COLORS.get(at % COLORS.len()).copied().unwrap_or(INK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_surrounds_its_values_and_names_round_ones() {
        let axis = Axis::log([131.0, 1_420.0].into_iter());
        assert!(axis.from < 131f64.log10() && axis.to > 1_420f64.log10());
        assert_eq!(
            axis.ticks.iter().map(|(_, words)| words.as_str()).collect::<Vec<_>>(),
            ["100", "200", "500", "1,000", "2,000"]
        );
        assert!(Axis::log([3.0, 400_000.0].into_iter()).ticks.len() <= 7);
        // Nothing to show still has an axis.
        assert!(Axis::log([f64::NAN, 0.0].into_iter()).ticks.len() >= 2);
        assert!(Axis::log([5.0].into_iter()).ticks.len() >= 2);
    }

    #[test]
    fn a_linear_axis_is_cut_in_round_steps() {
        let axis = Axis::linear(0.0, 9.7, 5.0);
        assert_eq!(
            axis.ticks.iter().map(|(_, words)| words.as_str()).collect::<Vec<_>>(),
            ["0", "2", "4", "6", "8", "10"]
        );
        assert!(Axis::linear(0.0, 0.0, 5.0).to > 0.0);
    }
}
