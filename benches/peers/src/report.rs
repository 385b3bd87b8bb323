//! The tables and the chart of `docs/speed.md`, from what was measured.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::cells::{Cell, Group};
use crate::svg::{document, line, rect, text};

/// The row that all are held against.
const OURS: &str = "manila";
/// The row that is a limit and not a peer.
const LIMIT: &str = "bare primitives of AWS-LC";

/// The times of a peer in seconds, one for each round.
type Times = Vec<f64>;

/// The figures of a group: for each column the rows in their order, with their times.
type Measured = BTreeMap<&'static str, Vec<(String, Times)>>;

/// Prints the tables of these files, then each cell in which another peer is faster. `PLOT` draws the chart.
pub fn print(files: &[&str]) {
    let texts: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let groups: Vec<_> = Group::all().into_iter().filter_map(|group| Some((group, measured(group, &texts)?))).collect();
    let mut not_ours = Vec::new();
    for (group, measured) in &groups {
        println!("### {}\n", group.title);
        println!("{}", table(group, measured));
        not_ours.extend(lost(group, measured));
    }
    match not_ours.as_slice() {
        [] => println!("No cell in which another is faster."),
        cells => println!("Cells in which another is faster:\n\n{}", cells.join("\n")),
    }
    if let Some(path) = std::env::var_os("PLOT") {
        std::fs::write(path, chart(&groups)).unwrap();
    }
}

fn measured(group: Group, texts: &[String]) -> Option<Measured> {
    let mut measured = Measured::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let mut words = line.split('\t');
        let (Some(name), Some(column), Some(peer)) = (words.next(), words.next(), words.next()) else { continue };
        let Some(cell) = group.cells().find(|cell| name == group.name && column == cell.column()) else { continue };
        let times = words.map(|word| word.parse().unwrap()).collect();
        measured.entry(cell.column()).or_default().push((peer.to_owned(), times));
    }
    (!measured.is_empty()).then_some(measured)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Half of the distance of the quartiles, as a share of the median.
fn spread(times: &Times) -> f64 {
    let mut times = times.clone();
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[(times.len() - 1) * share / 4];
    (at(3) - at(1)) / 2.0 / at(2)
}

/// The median of the multiples of our time, round by round.
fn multiple(rows: &[(String, Times)], times: &Times) -> f64 {
    let (_, ours) = rows.iter().find(|(peer, _)| peer == OURS).expect("our row");
    median(times.iter().zip(ours).map(|(time, ours)| time / ours).collect())
}

fn columns(group: &Group) -> Vec<&'static str> {
    group.cells().map(|cell: Cell| cell.column()).collect()
}

fn peers(group: &Group, measured: &Measured) -> Vec<String> {
    let mut peers: Vec<String> = Vec::new();
    for (peer, _) in columns(group).iter().filter_map(|column| measured.get(column)).flatten() {
        if !peers.contains(peer) {
            peers.push(peer.clone());
        }
    }
    peers
}

fn table(group: &Group, measured: &Measured) -> String {
    let columns = columns(group);
    let mut out = format!("| | {} |\n|---|{}\n", columns.join(" | "), "---:|".repeat(columns.len()));
    for peer in peers(group, measured) {
        let _ = write!(out, "| {peer} |");
        for column in &columns {
            let rows = measured.get(column).map(Vec::as_slice).unwrap_or_default();
            match rows.iter().find(|(name, _)| *name == peer) {
                Some((_, times)) => {
                    let speed = speed(group, median(times.clone()));
                    let (multiple, spread) = (multiple(rows, times), spread(times) * 100.0);
                    let _ = write!(out, " {speed} ±{spread:.0}%, ×{} |", short(multiple));
                }
                None => out.push_str(" |"),
            }
        }
        out.push('\n');
    }
    out
}

/// The time of a short message, the speed of a long one.
fn speed(group: &Group, seconds: f64) -> String {
    match group.len() {
        ..0x10_0000 => format!("{} µs", short(seconds * 1e6)),
        len => format!("{:.0} MiB/s", len as f64 / f64::from(1 << 20) / seconds),
    }
}

fn short(figure: f64) -> String {
    match figure {
        ..10.0 => format!("{figure:.2}"),
        ..100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

/// A line for each peer in a cell that is faster than the fastest row of ours.
fn lost(group: &Group, measured: &Measured) -> Vec<String> {
    let mut lines = Vec::new();
    for (column, rows) in columns(group).into_iter().filter_map(|column| Some((column, measured.get(column)?))) {
        let (ours, theirs): (Vec<_>, Vec<_>) = (rows.iter().filter(|(peer, _)| peer != LIMIT))
            .map(|(peer, times)| (peer, multiple(rows, times)))
            .partition(|(peer, _)| peer.starts_with(OURS));
        let best = ours.into_iter().map(|(_, multiple)| multiple).fold(1.0, f64::min);
        for (peer, multiple) in theirs.into_iter().filter(|(_, multiple)| *multiple < best) {
            lines.push(format!("- {}, {column}: {peer} takes {} of the time", group.title, short(multiple / best)));
        }
    }
    lines
}

/// Bars from our time, to the right for those that take longer, on a logarithmic scale.
fn chart(groups: &[(Group, Measured)]) -> String {
    const WIDTH: f64 = 760.0;
    const ONE: f64 = 380.0;
    const DECADE: f64 = 130.0;
    let title = "Time as a multiple of manila's, one thread";
    let (mut bars, mut y) = (String::new(), 44.0);
    for (group, measured) in groups {
        for column in columns(group) {
            let Some(rows) = measured.get(column) else { continue };
            y += 26.0;
            text(&mut bars, 16.0, y, "title", &format!("{}: {column}", group.title));
            for (peer, times) in rows.iter().filter(|(peer, _)| !peer.starts_with(OURS)) {
                y += 17.0;
                let multiple = multiple(rows, times);
                let end = ONE + DECADE * multiple.log10();
                let class = if peer == LIMIT { "behind" } else { "front" };
                rect(&mut bars, (ONE.min(end), y - 10.0), ((end - ONE).abs().max(1.0), 12.0), class);
                text(&mut bars, 28.0, y, "", peer);
                text(&mut bars, ONE.max(end) + 6.0, y, "faint", &format!("×{}", short(multiple)));
            }
        }
    }
    y += 12.0;
    let mut body = String::new();
    text(&mut body, 16.0, 28.0, "title", &format!("{title}, same machine, same run (left of 1 is faster)"));
    for (multiple, label) in
        [(0.5_f64, "0.5"), (1.0, "1"), (2.0, "2"), (5.0, "5"), (10.0, "10"), (50.0, "50"), (100.0, "100")]
    {
        line(&mut body, ONE + DECADE * multiple.log10(), (40.0, y), label);
    }
    document(WIDTH, y + 30.0, title, &(body + &bars))
}
