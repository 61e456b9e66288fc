//! placeholder
#[test]
fn controls() {
    for name in ["contain_double_fork","contain_daemon","contain_exec_churn","contain_stdout_holder","contain_stopped","contain_traced","contain_vfork_blocked","contain_respawning_pair","contain_zombie_leader","contain_setsid","contain_subreaper","contain_fork_storm","contain_pdeathsig_cleared"] {
        let r = rustbox_tests::Pen::of(name, &[]).run();
        eprintln!("{name} {r:?}");
        r.assert_outlived();
    }
}
