//! The chassis of every program of the mesh: configuration, registration, health, reflection, the
//! admin listener and the drain. A service is a [`Spec`] and a function that builds its routes.

