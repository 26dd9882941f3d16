import { EvidenceError } from "@envidence/core"
import { openDockerArchive } from "./docker-archive.js"
import { type EngineOptions, openEngineImage } from "./engine-image.js"
import { describeReference, type ImageReference } from "./image-reference.js"
import { openOciLayout } from "./layout.js"
import { openOciArchive } from "./oci-archive.js"
import type { OpenedImage } from "./opened-image.js"
import { openRegistryImage, type RegistryOptions } from "./registry.js"

export interface OpenImageOptions extends RegistryOptions, EngineOptions {
  /** Registries are refused. */
  readonly offline?: boolean
}

/**
 * Opens an image wherever it is. Close its `blobs` when done.
 *
 * @throws EvidenceError as the source does; usage for a registry where `offline`
 */
export function openImage(reference: ImageReference, options: OpenImageOptions): Promise<OpenedImage> {
  switch (reference.kind) {
    case "oci":
      return openOciLayout(reference.directory, layoutOptions(reference, options))
    case "oci-archive":
      return openOciArchive(reference.file, layoutOptions(reference, options))
    case "docker-archive":
      return openDockerArchive(reference.file, reference.name ?? undefined)
    case "podman":
    case "docker":
      return openEngineImage(reference.kind, reference.name, options)
    case "registry":
      if (options.offline) throw refuseOffline(reference)
      return openRegistryImage(reference, options)
  }
}

/** Opens an image, lets `work` read it and closes it. @throws EvidenceError as `openImage` and `work` do */
export async function withImage<T>(
  reference: ImageReference,
  options: OpenImageOptions,
  work: (image: OpenedImage) => Promise<T>,
): Promise<T> {
  const image = await openImage(reference, options)
  try {
    return await work(image)
  } finally {
    await image.blobs.close()
  }
}

export const refuseOffline = (reference: ImageReference): EvidenceError =>
  new EvidenceError("usage", `--offline, and ${describeReference(reference)} is in a registry`, {
    hint: "Name a copy of it on this machine: oci:DIR, oci-archive:FILE, docker-archive:FILE.",
  })

const layoutOptions = (
  { selector }: Extract<ImageReference, { kind: "oci" | "oci-archive" }>,
  { platforms }: OpenImageOptions,
) => ({ ...(selector === null ? {} : { selector }), ...(platforms === undefined ? {} : { platforms }) })
