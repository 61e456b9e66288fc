//! What `rustbox doctor` tells about cgroups: found out by doing it.
