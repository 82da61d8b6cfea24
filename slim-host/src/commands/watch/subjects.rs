//! What is to be watched: each word is a container or an image.

use crate::{
    commands::CommandError,
    engine::{ContainerView, Engine, EngineError, SourceImage},
    path::quote,
};

/// What the command line names.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    /// Containers that are watched by themselves; they run.
    pub(super) containers: Vec<ContainerView>,
    /// Images of which every container is watched.
    pub(super) images: Vec<SourceImage>,
    /// Every slim image behind those, once.
    pub(super) all: Vec<SourceImage>,
}

impl Subjects {
    /// Looks up `names`: a container comes before an image of the same name.
    ///
    /// # Errors
    /// When one is neither, or a container that does not run.
    pub(super) async fn find(engine: &Engine, names: &[String]) -> Result<Self, CommandError> {
        let mut subjects = Self::default();
        for name in names {
            match engine.container(name).await {
                Ok(container) => subjects.add_container(engine, container).await?,
                Err(EngineError::UnknownContainer { .. } | EngineError::BadName { .. }) => {
                    let image = image(engine, name).await?;
                    subjects.add(&image);
                    if !subjects.images.iter().any(|known| known.id == image.id) {
                        subjects.images.push(image);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(subjects)
    }

    async fn add_container(&mut self, engine: &Engine, container: ContainerView) -> Result<(), CommandError> {
        if container.pid.is_none() {
            let (name, image) = (&container.name, &container.image_reference);
            return Err(CommandError::Asleep(quote(name.as_bytes()), quote(image.as_bytes())));
        }
        if self.containers.iter().any(|known| known.id == container.id) {
            return Ok(());
        }
        let mut image = engine.image(&container.image_id).await?;
        image.reference.clone_from(&container.image_reference);
        self.add(&image);
        self.containers.push(container);
        Ok(())
    }

    fn add(&mut self, image: &SourceImage) {
        if !self.all.iter().any(|known| known.id == image.id) {
            self.all.push(image.clone());
        }
    }
}

async fn image(engine: &Engine, name: &str) -> Result<SourceImage, CommandError> {
    engine.image(name).await.map_err(|error| match error {
        EngineError::UnknownImage { similar, .. } => {
            CommandError::NothingToWatch { name: quote(name.as_bytes()), similar }
        }
        error => error.into(),
    })
}
