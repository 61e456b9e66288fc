//! The measurements as one SVG file that needs no other.

use std::fmt::Write;

use crate::Point;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;
const LINES_OF_GRID: u32 = 5;

type Series = (&'static str, &'static str, fn(&Point) -> f64);

const SERIES: [Series; 4] = [
    ("ps -eo, 5 columns", "#b00020", |point| point.ps.as_secs_f64() * 1e3),
    ("a look of the audit", "#1c6e3d", |point| point.look.as_secs_f64() * 1e3),
    ("C loop, same files", "#3a6ea5", |point| point.c_loop.as_secs_f64() * 1e3),
    ("our own cgroups", "#8a6d00", |point| point.cgroups.as_secs_f64() * 1e3),
];

/// Draws milliseconds over processes, both from zero: a line through the origin is what linear cost looks like.
pub(crate) fn draw(points: &[Point], kernel: &str) -> String {
    let widest = points.iter().map(|point| point.processes as f64).fold(1.0, f64::max);
    let highest = points.iter().flat_map(|point| SERIES.map(|(.., of)| of(point))).fold(1.0, f64::max);
    let x = |processes: f64| LEFT + processes / widest * (WIDTH - LEFT - RIGHT);
    let y = |ms: f64| HEIGHT - BOTTOM - ms / highest * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
        font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"#333\">\n\
        <title>Milliseconds of processor time for one pass over all processes of a host</title>\n\
        <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
        <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">One pass over all processes, in milliseconds of processor time (Linux {kernel})</text>\n"
    );
    for line in 0..=LINES_OF_GRID {
        let ms = highest * f64::from(line) / f64::from(LINES_OF_GRID);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {0:.1}H{1}\" stroke=\"#ddd\"/><text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{ms:.0}</text>",
            y(ms),
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(ms) + 4.0
        );
    }
    for point in points {
        let at = x(point.processes as f64);
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 28.0,
            point.processes
        );
    }
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\">processes of the host</text>", HEIGHT - 8.0);
    let mut next_label = f64::INFINITY;
    let mut last: Vec<_> = SERIES.iter().filter_map(|series| Some((series, points.last()?))).collect();
    last.sort_by(|(a, point), (b, _)| (a.2)(point).total_cmp(&(b.2)(point)));
    for ((name, colour, of), _) in last {
        let path: Vec<String> =
            points.iter().map(|point| format!("{:.1},{:.1}", x(point.processes as f64), y(of(point)))).collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{LEFT},{} {}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            HEIGHT - BOTTOM,
            path.join(" ")
        );
        let Some(point) = points.last() else { continue };
        // From the lowest up, each label clear of the one below it.
        next_label = (y(of(point)) + 4.0).min(next_label - 15.0);
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{next_label:.1}\" fill=\"{colour}\">{name}: {:.1}</text>",
            WIDTH - RIGHT + 8.0,
            of(point)
        );
    }
    out.push_str("</svg>\n");
    out
}
