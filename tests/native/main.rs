//! The real server, over real sockets: in this process, on a port of its own, with data of its own.

mod apps;
mod databases;
mod demo;
mod guard;
mod links;
mod peer;
mod repository;
mod routes;
mod world;
