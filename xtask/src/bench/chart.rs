//! Bar charts as SVG: a bar for the median, a thin line up to the 95th percentile.

use std::fmt::Write;

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    /// The end of the thin line; none for a bar without one.
    pub(crate) upper: Option<f64>,
    /// Whether it is ours.
    pub(crate) ours: bool,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 26.0;
const TOP: f64 = 44.0;
/// Text and bars that can be read on light and on dark paper.
const STYLE: &str = "text{font:13px sans-serif;fill:#777}.t{font-size:15px}.b{fill:#8a9bb0}.o{fill:#d9762b}";

/// A chart with one bar below the other.
pub(crate) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let longest =
        bars.iter().map(|bar| bar.upper.unwrap_or(bar.value).max(bar.value)).fold(f64::MIN_POSITIVE, f64::max);
    let rows = u32::try_from(bars.len()).unwrap_or(0);
    let height = TOP + f64::from(rows) * ROW + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{title}</title><style>{STYLE}</style>\n<text class=\"t\" x=\"8\" y=\"24\">{}</text>\n",
        escaped(title)
    );
    for (row, bar) in (0_u32..).zip(bars) {
        let y = TOP + f64::from(row) * ROW;
        let scale = |value: f64| (WIDTH - LEFT - RIGHT) * value / longest;
        let (length, middle) = (scale(bar.value), y + 9.0);
        let class = if bar.ours { "o" } else { "b" };
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.0}\" width=\"{length:.1}\" height=\"18\"/>",
            LEFT - 8.0,
            y + 14.0,
            escaped(&bar.name)
        );
        let mut end = length;
        if let Some(upper) = bar.upper {
            end = end.max(scale(upper));
            let _ = write!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{middle:.0}\" y2=\"{middle:.0}\" stroke=\"#777\"/>",
                LEFT + end
            );
        }
        let _ =
            writeln!(svg, "<text x=\"{:.1}\" y=\"{:.0}\">{:.2} {unit}</text>", LEFT + end + 6.0, y + 14.0, bar.value);
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_its_row_and_no_more() {
        let bar = |name: &str, value, upper| Bar { name: name.to_owned(), value, upper, ours: false };
        let svg = bars("a < b", "ms", &[bar("x", 1.0, None), bar("y", 2.0, Some(4.0))]);
        assert!(svg.contains("width=\"120.0\"") && svg.contains("width=\"240.0\""), "{svg}");
        assert!(svg.contains("x2=\"630.0\"") && svg.contains("a &lt; b"), "{svg}");
    }
}
