//! The machine, the disk and the user's impatience.

use std::process::Command;

use plinth_e2e::{Project, binary, plugins, signal};

/// Waits, by looking and not by a fixed time, until a condition holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed().as_secs() < 60, "waited a minute for {what}");
        std::thread::yield_now();
    }
}

/// The stage keys that the catalog knows, read through the product.
fn finished(project: &Project) -> bool {
    project.path(".plinth/catalog.db").exists()
}

#[test]
fn kill_9_at_any_moment_loses_no_finished_stage_and_the_next_run_goes_on() {
    // The moments are spread over the run by the amount of state that exists, not by time.
    for blobs_before_the_kill in [0_usize, 2, 4, 8] {
        let project = Project::churn();
        let mut child = project.command(&["run"]).spawn().expect("it starts");
        let blobs = || walk(&project.path(".plinth/blobs"));
        until("blobs", || blobs() >= blobs_before_the_kill || child.try_wait().expect("ours").is_some());
        // It may have finished already on a fast machine; the kill is then too late and changes nothing.
        let _ = child.kill();
        child.wait().expect("ours");
        let resumed = project.run(&["run"]);
        resumed.succeeds();
        project.run(&["doctor"]).succeeds();
        assert_eq!(project.json(&["model", "show", "churn"])["versions"].as_array().map(Vec::len), Some(1));
    }
}

fn walk(folder: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|e| if e.path().is_dir() { walk(&e.path()) } else { 1 }).sum()
}

#[test]
fn ctrl_c_ends_with_130_and_the_next_run_goes_on() {
    let project = Project::churn();
    let mut child = project.command(&["run"]).spawn().expect("it starts");
    until("the catalog", || finished(&project) || child.try_wait().expect("ours").is_some());
    if child.try_wait().expect("ours").is_none() {
        signal(child.id(), "INT");
    }
    let status = child.wait().expect("ours");
    assert!(matches!(status.code(), Some(130 | 0)), "{status}");
    project.run(&["run"]).succeeds();
}

#[test]
fn a_second_writer_is_told_who_is_first() {
    let project = Project::churn();
    let mut first = project.command(&["run", "--force"]).spawn().expect("it starts");
    until("the lock", || {
        let lock = std::fs::read_to_string(project.path(".plinth/lock")).unwrap_or_default();
        lock.contains(&first.id().to_string()) || first.try_wait().expect("ours").is_some()
    });
    let second = project.run(&["run"]);
    if first.try_wait().expect("ours").is_none() {
        second.fails(11, "state-in-use", &[&first.id().to_string()]);
    }
    assert!(first.wait().expect("ours").success());
    project.run(&["run"]).succeeds();
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let project = Project::churn();
    // A limit on the size of files makes the system refuse a write as a full device does.
    let full = |blocks: u32| {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" run"),
                &binary().display().to_string(),
            ])
            .current_dir(project.path(""))
            .env("PLINTH_PLUGINS", plugins());
        plinth_e2e::Done::from(command.output().expect("sh"))
    };
    full(200).fails(12, "disk-full", &[".plinth"]);
    project.run(&["run"]).succeeds();
    project.run(&["doctor"]).succeeds();
}

#[test]
fn a_doctor_makes_no_state_directory() {
    let project = Project::empty();
    // The usual place, before the first run: nothing is wrong with that.
    let done = project.run(&["doctor"]);
    done.succeeds();
    assert!(done.stdout.contains("is not there yet"), "{}", done.stdout);
    assert!(!project.path(".plinth").exists());
    for arguments in [&["doctor", "--state-dir", "elsewhere"][..], &["doctor", "--repair", "--state-dir", "elsewhere"]]
    {
        let done = project.run(arguments);
        done.fails(6, "file-not-found", &["there is no state directory", "elsewhere", "--state-dir"]);
        assert!(!project.path("elsewhere").exists());
    }
}

#[test]
fn a_corrupted_blob_is_named_and_not_used() {
    let project = Project::churn();
    let report = project.json(&["run", "--stage", "split"]);
    let stages = report["stages"].as_array().expect("stages");
    let split = stages.iter().find(|stage| stage["name"] == "split").expect("the stage");
    let outputs = split["outputs"].as_array().expect("outputs");
    let train = outputs.iter().find(|output| output["name"] == "train").expect("what the next stage reads");
    let hash = train["blob"].as_str().expect("a hash");
    let blob = project.path(".plinth/blobs").join(&hash[..2]).join(&hash[2..]);
    let mut bytes = std::fs::read(&blob).expect("a blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::remove_file(&blob).expect("removable");
    std::fs::write(&blob, bytes).expect("writable");
    let done = project.run(&["run"]);
    done.fails(13, "blob-corrupt", &["doctor"]);
    project.run(&["doctor"]).fails(13, "blob-corrupt", &[]);
    project.run(&["doctor", "--repair"]).succeeds();
    project.run(&["run"]).succeeds();
}

#[test]
fn ctrl_c_leaves_the_file_that_was_there_and_no_other() {
    let project = Project::empty();
    project.write("rows.csv", "x,y\n13.0,1.0\n");
    // A call of this one ends at its deadline only.
    project.write("plinth.toml", "[limits.plugin]\ncall-ms-max = 600000\n");
    let register = ["model", "register", "evil", "--component", "evil-model", "--item", "infinite-loop"];
    let options = ["--column", "x=float64", "--column", "y=float64", "--options", r#"{"at": "predict", "when": 13.0}"#];
    project.run(&[&register[..], &options].concat()).succeeds();
    project.write("out.csv", "old");
    let names = || {
        let all = std::fs::read_dir(project.path("")).expect("the folder").flatten();
        let mut all: Vec<_> = all.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        all.sort();
        all
    };
    let before = names();
    for command in [
        &["predict", "models:/evil/1", "--input", "rows.csv", "--output", "out.csv"][..],
        &["plugin", "run", "evil-model", "rows.csv", "--item", "infinite-loop", "--output", "out.csv"],
    ] {
        for (name, code) in [("INT", 130), ("TERM", 130)] {
            let mut child = project.command(command).spawn().expect("it starts");
            until("the file", || names().len() > before.len() || child.try_wait().expect("ours").is_some());
            signal(child.id(), name);
            let status = child.wait().expect("ours");
            assert_eq!(status.code(), Some(code), "{command:?}: {status}");
            assert_eq!(names(), before, "{command:?}");
            assert_eq!(std::fs::read_to_string(project.path("out.csv")).expect("the file"), "old");
        }
    }
}
