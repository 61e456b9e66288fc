//! One spec laid over another.

use crate::spec::RunSpec;

impl RunSpec {
    /// Lays `above` over this spec: what `above` says wins, and its lists are added.
    pub fn overlay(&mut self, above: Self) {
        macro_rules! over {
            ($($field:ident)*) => {
                $(if above.$field.is_some() {
                    self.$field = above.$field;
                })*
            };
        }
        over! {
            box_id wait_for_box chdir strict_mode pid_namespace mount_namespace ipc_namespace uts_namespace
            cgroup_namespace time_namespace net seccomp wait mem pids time wall_time extra_time cpus cpuset fsize
            open_files stack core address_space output_limit tmp_size box_size rootfs hostname stdin stdout stderr
            cgroup_backend
        }
        self.env.extend(above.env);
        self.binds.extend(above.binds);
        self.tmpfs.extend(above.tmpfs);
        self.pass_fds.extend(above.pass_fds);
        if !above.argv.is_empty() {
            self.argv = above.argv;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ByteSize;

    #[test]
    fn what_is_above_wins_and_silence_leaves_the_rest() {
        let mut spec = RunSpec { pids: Some(7), mem: Some(ByteSize(1)), argv: vec!["a".into()], ..RunSpec::default() };
        let mut above: RunSpec = serde_json::from_str(r#"{"mem": "8M", "wall_time": 3}"#).unwrap();
        above.env = vec![("A".into(), "b".into())];
        spec.overlay(above);
        assert_eq!((spec.pids, spec.mem, spec.env.len()), (Some(7), Some(ByteSize(8 << 20)), 1));
        assert_eq!((spec.argv.len(), spec.wall_time.is_some()), (1, true));
    }

    /// A field that is added to the spec and not here would be lost: every one that a file can set is tried.
    #[test]
    fn no_field_is_forgotten() {
        let whole = serde_json::to_value(RunSpec::default()).unwrap();
        let values = ["1", "true", "\"main\"", "\"none\"", "\"off\"", "\"v2\"", "\"x\"", "\"/x\"", "\"1\""];
        for key in whole.as_object().unwrap().keys() {
            let set = |value: &&str| serde_json::from_str::<RunSpec>(&format!("{{\"{key}\": {value}}}")).ok();
            let above = values.iter().find_map(set).unwrap_or_else(|| panic!("no value for {key}"));
            let mut spec = RunSpec::default();
            spec.overlay(above.clone());
            assert_eq!(spec, above, "{key}");
        }
    }
}
