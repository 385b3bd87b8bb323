//! Values as lines for people.

use console::{StyledObject, style};

use super::ordered::Ordered;
use super::plain;

const GAP: &str = "  ";

/// Returns the lines of a value.
pub fn of(value: &Ordered) -> String {
    let lines = match value {
        Ordered::Object(members) => rows(members),
        Ordered::List(items) if items.iter().all(|item| matches!(item, Ordered::Object(_))) => table(items),
        Ordered::List(items) => items.iter().map(text).collect(),
        Ordered::Text(_) => vec![text(value)],
        Ordered::Nothing => Vec::new(),
    };
    lines.into_iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Returns a row for each non-empty member, or one for each object if the member is a list of objects.
fn rows(members: &[(String, Ordered)]) -> Vec<String> {
    let mut rows = Vec::new();
    for (name, value) in members {
        match value {
            Ordered::List(items) if matches!(items.first(), Some(Ordered::Object(_))) => {
                rows.extend(items.iter().map(|item| (name, item)));
            }
            value => rows.push((name, value)),
        }
    }
    let mut rows: Vec<_> = rows.into_iter().map(|(name, value)| (name, text(value))).collect();
    rows.retain(|(_, text)| !text.is_empty());
    let width = rows.iter().map(|(name, _)| width(name)).max().unwrap_or_default();
    let line = |(name, text): (&String, String)| {
        let coloured = coloured(name, &text);
        format!("{:<width$}{GAP}{coloured}", name.replace('_', " "))
    };
    rows.into_iter().map(line).collect()
}

/// A head and a row for each object, with a column for each of their members.
fn table(items: &[Ordered]) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for item in items {
        let Ordered::Object(members) = item else { continue };
        if names.is_empty() {
            names = members.iter().map(|(name, _)| name.as_str()).collect();
        }
        rows.push(members.iter().map(|(_, value)| text(value)).collect());
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let head: Vec<String> = names.iter().map(|name| name.replace('_', " ").to_uppercase()).collect();
    let widths: Vec<usize> = (0..names.len())
        .map(|column| rows.iter().chain([&head]).filter_map(|row| row.get(column)).map(|cell| width(cell)).max())
        .map(Option::unwrap_or_default)
        .collect();
    let line = |row: &Vec<String>, is_head: bool| {
        let cells = row.iter().zip(&widths).zip(&names).map(|((cell, width_of_column), name)| {
            let padding = " ".repeat(width_of_column.saturating_sub(width(cell)));
            match is_head {
                true => format!("{cell}{padding}"),
                false => format!("{}{padding}", coloured(name, cell)),
            }
        });
        cells.collect::<Vec<_>>().join(GAP)
    };
    let body = rows.iter().map(|row| line(row, false));
    [line(&head, true)].into_iter().chain(body).collect()
}

/// A value in one line.
fn text(value: &Ordered) -> String {
    match value {
        Ordered::Nothing => String::new(),
        Ordered::Text(text) => plain(text),
        Ordered::List(items) => items.iter().map(text_of_item).collect::<Vec<_>>().join(", "),
        Ordered::Object(members) => {
            let pairs = members.iter().map(|(name, value)| (plain(name), text(value)));
            let pairs = pairs.filter(|(_, text)| !text.is_empty());
            pairs.map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join(", ")
        }
    }
}

fn text_of_item(item: &Ordered) -> String {
    text(item)
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The value of a member, in a colour if it calls for attention: on a terminal, and not where `NO_COLOR` is set.
fn coloured(name: &str, text: &str) -> StyledObject<String> {
    let styled = style(text.to_owned());
    match (name, text) {
        ("state", "Disabled" | "PendingImport") => styled.yellow(),
        ("state", "PendingDeletion") | ("faults", _) | ("intact", "no") => styled.red(),
        _ => styled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        console::set_colors_enabled(false);
        of(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn an_object_is_rows_and_a_list_of_objects_a_table() {
        let rows = r#"{"key_id": "1", "none": null, "empty": [], "multi": true, "tags": {"b": "2", "a": "1"},
                       "names": ["x", "y"], "rotations": [{"date": "now", "faults": []}, {"date": "then"}]}"#;
        assert_eq!(
            shown(rows),
            "key id     1\nmulti      yes\ntags       b=2, a=1\nnames      x, y\nrotations  date=now\n\
             rotations  date=then\n"
        );
        let table = r#"[{"b_c": 10, "a": "x"}, {"b_c": 1, "a": null}]"#;
        assert_eq!(shown(table), "B C  A\n10   x\n1\n");
        assert_eq!([shown("[]"), shown("null"), shown(r#"["a", "b"]"#)], ["", "", "a\nb\n"]);
    }

    #[test]
    fn nothing_steers_a_terminal() {
        let shown = shown(r#"{"description": "a\u001b[2J\u202eb\n\"é'\\"}"#);
        assert_eq!(shown, "description  a\\u{1b}[2J\\u{202e}b\\n\"é'\\\n");
    }
}
