export * from "./bounded-file.js"
export * from "./build-context.js"
export * from "./compression.js"
export { type ContextLink, findLinkOut } from "./context-links.js"
export { MADE_MANIFEST_ANNOTATION, openDockerArchive } from "./docker-archive.js"
export { DockerIgnore } from "./dockerignore.js"
export * from "./effective-root.js"
export { type EngineName, type EngineOptions, openEngineImage } from "./engine-image.js"
export * from "./image-inventory.js"
export * from "./image-reference.js"
export * from "./image-source.js"
export { type LayerInventory, type LayerLimits, type LayerSource, layerLimits, readLayer } from "./layer.js"
export { type LayoutOptions, type LayoutSelector, type OciLayout, openOciLayout } from "./layout.js"
export { writeOciLayout } from "./layout-writer.js"
export { openOciArchive } from "./oci-archive.js"
export {
  type BlobSource,
  type ChoiceOptions,
  type ImageChoice,
  machinePlatform,
  type OpenedImage,
  openLayerBlob,
} from "./opened-image.js"
export { openRegistryImage, type RegistryOptions, type RegistryTiming, registryTiming } from "./registry.js"
export { buildSbom, type Sbom, type SbomComponent, type SbomInput } from "./sbom/build.js"
export { packageDatabaseBytes } from "./sbom/databases.js"
export type { EmbeddedPackages } from "./sbom/executable.js"
export { buildImageSbom } from "./sbom/image-sbom.js"
export type { PackageType } from "./sbom/package-facts.js"
export type { UnreadableDatabase } from "./sbom/packages.js"
export * from "./submission-texts.js"
