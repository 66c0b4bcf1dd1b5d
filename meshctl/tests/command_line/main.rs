//! The command line as its users have it: the program itself, over real sockets.

mod call;
mod demo;
mod doctor;
mod doctor_mcp;
mod gateway;
mod jobs;
mod listings;
mod mesh;
mod mistakes;
mod programs;
mod schedules;
mod tap;
mod tls;
mod traffic;
mod up;
mod workflows;
