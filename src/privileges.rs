//! Giving up root's rights for a user's, once what needs them is done.
//!
//! What is left of the privileged start goes on working: open ports, sockets and memory. What has to be removed at the end is given
//! to the user before. The change reaches every thread of the process, EAL's too: glibc passes it on to all (nptl(7)).

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};

/// Why a user cannot be become.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Nobody has this name.
    #[error("user {0:?}: there is no such user here; make one (useradd --system {0}), or name another")]
    Unknown(String),
    /// The list of users cannot be read.
    #[error("user {name:?}: {error}")]
    Unreadable {
        /// The user's name.
        name: String,
        /// What the system says.
        error: nix::Error,
    },
    /// The system does not let this process become another user.
    #[error("user {name:?}: leat cannot become that user: {error}; start it as root, or leave the user out")]
    Refused {
        /// The user's name.
        name: String,
        /// What the system says.
        error: nix::Error,
    },
}

/// A user that this machine knows.
#[derive(Clone, Debug)]
pub struct Account {
    name: String,
    user: Uid,
    group: Gid,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Account {
    /// The user with this name.
    ///
    /// # Errors
    ///
    /// [`PrivilegeError::Unknown`] and [`PrivilegeError::Unreadable`].
    pub fn find(name: &str) -> Result<Self, PrivilegeError> {
        let found =
            User::from_name(name).map_err(|error| PrivilegeError::Unreadable { name: name.to_owned(), error })?;
        let user = found.ok_or_else(|| PrivilegeError::Unknown(name.to_owned()))?;
        Ok(Self { name: user.name, user: user.uid, group: user.gid })
    }

    /// Gives the user `path`, and what is in it if it is a folder: those of them that are whose this process is now.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        let ours = Uid::effective().as_raw();
        let own = |path: &Path| {
            if fs::symlink_metadata(path)?.uid() == ours {
                chown(path, Some(self.user.as_raw()), Some(self.group.as_raw()))?;
            }
            Ok::<_, io::Error>(())
        };
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                own(&entry?.path())?;
            }
        }
        own(path)
    }

    /// Makes this process the user's, with the user's own group and no other, and no way back.
    ///
    /// # Errors
    ///
    /// [`PrivilegeError::Refused`]. Some of it may have happened then: the process is to end.
    pub fn become_it(&self) -> Result<(), PrivilegeError> {
        let refused = |error| PrivilegeError::Refused { name: self.name.clone(), error };
        setgroups(&[self.group]).map_err(refused)?;
        setresgid(self.group, self.group, self.group).map_err(refused)?;
        setresuid(self.user, self.user, self.user).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_one_that_is_not_there_is_said_to_be_missing() {
        assert_eq!(Account::find("root").unwrap().user, Uid::from_raw(0));
        let error = Account::find("leat-nobody-has-this-name").unwrap_err().to_string();
        assert!(error.contains("no such user here; make one (useradd --system leat-nobody-has-this-name)"), "{error}");
    }
}
