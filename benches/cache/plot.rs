//! The plot in the README: bars of messages per second on a logarithmic scale.

use crate::svg::{document, line, rect, text};

/// The rates of one source of data keys, message size and number of threads, in messages per second.
pub struct Figure {
    pub source: &'static str,
    pub size: &'static str,
    pub threads: usize,
    pub uncached: f64,
    pub cached: f64,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 170.0;
const PER_DECADE: f64 = 100.0;
/// The scale begins here.
const LEAST: f64 = 10.0;
const DECADES: [&str; 6] = ["10", "100", "1,000", "10,000", "100,000", "1,000,000"];
const BAR: f64 = 12.0;

/// The plot, as an SVG document.
pub fn svg(figures: &[Figure]) -> String {
    let mut body = String::new();
    let mut y = 28.0;
    text(&mut body, 16.0, y, "title", "Messages sealed per second, suite 0x0478 (logarithmic scale)");
    y += 22.0;
    for (x, class, label) in [(16.0, "behind", "a call for each message"), (186.0, "front", "data keys cached")] {
        rect(&mut body, (x, y - 10.0), (BAR, BAR), class);
        text(&mut body, x + 18.0, y, "faint", label);
    }
    y += 12.0;
    let top = y;
    let mut bars = String::new();
    for sources in figures.chunk_by(|one, next| one.source == next.source) {
        y += 22.0;
        text(&mut bars, 16.0, y, "title", sources[0].source);
        y += 8.0;
        for figure in sources {
            let threads = if figure.threads == 1 { "1 thread" } else { "2 threads" };
            text(&mut bars, 28.0, y + 16.0, "faint", &format!("{}, {threads}", figure.size));
            for (rate, class) in [(figure.uncached, "behind"), (figure.cached, "front")] {
                let width = across(rate);
                rect(&mut bars, (LEFT, y), (width, BAR), class);
                text(&mut bars, LEFT + width + 5.0, y + 10.5, "", &grouped(rate));
                y += BAR;
            }
            y += 7.0;
        }
    }
    for (n, label) in DECADES.iter().enumerate() {
        line(&mut body, LEFT + PER_DECADE * n as f64, (top, y), label);
    }
    let title = "Messages sealed per second, with data keys cached and without";
    document(WIDTH, y + 30.0, title, &(body + &bars))
}

/// The length of a rate on the scale.
fn across(rate: f64) -> f64 {
    (rate / LEAST).log10().max(0.0) * PER_DECADE
}

/// To two digits that count, as no run repeats more; 12,000 for 12345.
fn grouped(rate: f64) -> String {
    let step = 10_f64.powf((rate.log10() - 1.0).floor()).max(1.0);
    let digits = format!("{:.0}", (rate / step).round() * step);
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
