//! The table of `rustbox ps`.

use rustbox_supervisor::BoxView;

use super::escape_text;

/// What stands where nothing is known.
const UNKNOWN: &str = "?";

/// One line for each box, under a heading; the command last, since it may be long.
pub(crate) fn boxes(views: &[BoxView]) -> String {
    let mut rows = vec![["BOX", "STATE", "SUPERVISOR", "INIT", "UID", "PROCESSES", "COMMAND"].map(str::to_owned)];
    rows.extend(views.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(view: &BoxView) -> [String; 7] {
    let state = match view.alive {
        Some(true) => "alive",
        Some(false) => "dead",
        None => UNKNOWN,
    };
    let unknown = || UNKNOWN.to_owned();
    let record = view.record.as_ref();
    let pids = view.pids.as_ref().map(|pids| match pids.as_slice() {
        [] => "none".to_owned(),
        some => some.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
    });
    [
        view.box_id.to_string(),
        state.to_owned(),
        record.map_or_else(unknown, |record| record.pid.to_string()),
        record.and_then(|record| record.init).map_or_else(unknown, |init| init.pid.to_string()),
        record.map_or_else(unknown, |record| record.uid.to_string()),
        pids.unwrap_or_else(unknown),
        // A record is a file that anybody with root's rights may have written.
        record.map_or_else(unknown, |record| escape_text(&record.argv.join(" "))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_without_a_record_is_shown_with_what_is_known() {
        let view = BoxView {
            box_id: "demo".parse().unwrap(),
            alive: Some(true),
            cgroups: vec!["/sys/fs/cgroup/rustbox-demo".to_owned()],
            pids: Some(vec![12, 3456]),
            record: None,
        };
        let unread = BoxView { box_id: "b2".parse().unwrap(), alive: None, pids: None, ..view.clone() };
        let text = boxes(&[view, unread]);
        assert_eq!(
            text,
            "BOX   STATE  SUPERVISOR  INIT  UID  PROCESSES  COMMAND\n\
             demo  alive  ?           ?     ?    12,3456    ?\n\
             b2    ?      ?           ?     ?    ?          ?\n"
        );
    }
}
