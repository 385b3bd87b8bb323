//! The chart in the README: how much of the primitives' speed is left, and the bar of each job.

use crate::Figure;
use crate::svg::{document, line, rect, text};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 400.0;
/// The width of the primitives' own speed.
const FULL: f64 = 160.0;

/// The chart, as an SVG document.
pub fn svg(figures: &[Figure]) -> String {
    let title = "Speed against the bare primitives of AWS-LC";
    let mut body = String::new();
    text(&mut body, 16.0, 28.0, "title", &format!("{title}, same machine, same run (1.0 is as fast)"));
    let top = 42.0;
    let mut y = top;
    let mut bars = String::new();
    for figure in figures {
        y += 18.0;
        text(&mut bars, 16.0, y + 1.0, "", &figure.job);
        rect(&mut bars, (LEFT, y - 10.0), (FULL * figure.ratio, 13.0), "front");
        if figure.bar > 0.0 {
            // A tick where the bar is.
            rect(&mut bars, (LEFT + FULL * figure.bar, y - 12.0), (2.0, 17.0), "behind");
        }
        let label = format!("{:.2}", figure.ratio);
        text(&mut bars, LEFT + FULL * figure.ratio.max(figure.bar) + 8.0, y + 1.0, "faint", &label);
    }
    y += 14.0;
    for (share, label) in [(0.0, "0"), (0.5, "0.5"), (1.0, "1.0"), (1.5, "1.5"), (2.0, "2.0")] {
        line(&mut body, LEFT + FULL * share, (top, y), label);
    }
    document(WIDTH, y + 30.0, title, &(body + &bars))
}
