//! The host: processor, memory, pressure, disks, cgroups.
