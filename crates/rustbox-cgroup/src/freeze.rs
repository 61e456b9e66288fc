//! Frozen boxes: a frozen task on v1 does not even take a SIGKILL.

use crate::attr::Dir;
use crate::create::open_dir;
use crate::error::Error;
use crate::group::BoxCgroup;
use crate::layout::Control;
use crate::parse;

/// Whether somebody froze a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// Not frozen.
    Thawed,
    /// `cgroup.freeze` is 1, or `freezer.state` of the v1 freezer cgroup of the same name is not `THAWED`.
    Frozen,
}

impl BoxCgroup {
    /// Whether the box is frozen, by the v2 directory and by a v1 freezer cgroup of the same name.
    ///
    /// Open, read, close; on v1 and hybrid two more calls when there is no freezer cgroup, which is the normal case.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn frozen(&self) -> Result<Freeze, Error> {
        if let Some(dir) = self.v2()
            && dir.read("cgroup.freeze", parse::single)? > 0
        {
            return Ok(Freeze::Frozen);
        }
        let state = self.freezer()?.map(|dir| dir.read("freezer.state", |text| Some(text.trim_end() == "THAWED")));
        Ok(if state.transpose()?.unwrap_or(true) { Freeze::Thawed } else { Freeze::Frozen })
    }

    /// Thaws the box wherever it is frozen. The freezer cgroup itself stays: rustbox does not make any.
    ///
    /// # Errors
    /// When a frozen hierarchy cannot be thawed; both are tried.
    pub fn thaw(&self) -> Result<(), Error> {
        let v2 = self.v2().map_or(Ok(()), |dir| dir.write("cgroup.freeze", "0"));
        self.thaw_freezer().and(v2)
    }

    /// Thaws a v1 freezer cgroup of the same name, if there is one.
    pub(crate) fn thaw_freezer(&self) -> Result<(), Error> {
        self.freezer()?.map_or(Ok(()), |dir| dir.write("freezer.state", "THAWED"))
    }

    /// The v1 freezer cgroup that carries the box's name.
    fn freezer(&self) -> Result<Option<Dir>, Error> {
        let home = self.layout.home(Control::Freezer).and_then(|i| Some((i, self.layout.roots.get(i)?)));
        let Some((index, root)) = home else { return Ok(None) };
        let name = self.id.cgroup_name();
        match open_dir(root, index, &name, root.path.join(&name)) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
