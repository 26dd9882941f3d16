import { cp, mkdir, rm } from "node:fs/promises"
import { join } from "node:path"
import {
  type Binding,
  buildImageView,
  type Declaration,
  type ImageView,
  type NewMember,
  type StaticEvidence,
  serializeInventory,
} from "@envidence/core"
import {
  buildImageSbom,
  describeReference,
  type ImageReference,
  inventoriesOf,
  inventoryImage,
  type OpenedImage,
  type OpenImageOptions,
  openOciLayout,
  withImage,
  writeOciLayout,
} from "@envidence/oci"
import { digestOf } from "./observe.js"
import type { World } from "./world.js"

/** An image read once: what criteria see of it, and its members in the bundle. */
export interface ReadImage {
  readonly layout: OpenedImage
  readonly evidence: StaticEvidence
  readonly members: readonly NewMember[]
}

/** One pass over the layers: view, inventories and SBOM. @throws EvidenceError malformed-image, limit-exceeded */
export async function readImage(
  layout: OpenedImage,
  declaration: Declaration,
  signal: AbortSignal,
): Promise<ReadImage> {
  const inventory = await inventoryImage(layout, { signal })
  const { manifestBytes, configBytes, index } = layout
  const image = await buildImageView({ manifestBytes, configBytes, layers: inventoriesOf(inventory) })
  const sbom = buildImageSbom(layout, inventory).bytes
  const members: NewMember[] = [
    { path: "image/manifest.json", bytes: manifestBytes, role: "image-manifest" },
    { path: "image/config.json", bytes: configBytes, role: "image-config" },
    ...(index === null ? [] : [{ path: "image/index.json", bytes: index.bytes, role: "image-index" as const }]),
    ...image.layers.map(({ entries }, i) => ({
      path: `image/layers/${i}.jsonl`,
      bytes: serializeInventory(entries),
      role: "layer-inventory" as const,
    })),
    { path: "sbom.cdx.json", bytes: sbom, role: "sbom" },
  ]
  return { layout, evidence: { image, declaration, sbom: { bytes: sbom, digest: await digestOf(sbom) } }, members }
}

/** The view alone, for comparing two builds. */
export async function viewImage(directory: string, signal: AbortSignal): Promise<ImageView> {
  const layout = await openOciLayout(directory)
  const layers = inventoriesOf(await inventoryImage(layout, { signal, wants: () => 0 }))
  return buildImageView({ manifestBytes: layout.manifestBytes, configBytes: layout.configBytes, layers })
}

/** What opens an image that the user names. */
export const openingOptions = ({ env, temporaryDirectory, signal }: World): OpenImageOptions => ({
  env,
  temporaryDirectory,
  signal,
})

/** An image that was given, not built: where its layout is, and what a report must say of it. */
export interface GivenImage {
  readonly directory: string
  readonly bindings: readonly Binding[]
}

/** A layout of the image that the user names: its own folder, or one written to the new folder `draft`. */
export function layOut(reference: ImageReference, draft: string, world: World): Promise<GivenImage> {
  return withImage(reference, openingOptions(world), async image => {
    const bindings = givenBindings(reference, image)
    if (reference.kind === "oci" && reference.selector === null) return { directory: reference.directory, bindings }
    await writeOciLayout(image, draft, world.signal)
    return { directory: draft, bindings }
  })
}

/** What a name meant, which of an index's images was judged, and that nothing ties the image to a source. */
export function givenBindings(reference: ImageReference, image: OpenedImage): Binding[] {
  const name = describeReference(reference)
  const count = image.index?.platforms.length ?? 1
  return [
    image.manifestOrigin === "stored"
      ? { id: "image", outcome: "holds", because: `${name} is ${image.manifestDigest}` }
      : {
          id: "image",
          outcome: "not-checked",
          because: `${name} has the config ${image.configDigest}; it keeps no manifest, so one was made here: ${image.manifestDigest}`,
        },
    { id: "image-from-source", outcome: "not-checked", because: "not tied: the image was given, not built" },
    { id: "platforms", outcome: count === 1 ? "holds" : "not-checked", because: `1 of ${count} (${image.platform})` },
  ]
}

/** Copies a layout's folder to where it shall be kept, replacing what is there. */
export async function copyLayout(from: string, to: string): Promise<void> {
  const draft = `${to}.draft`
  await rm(draft, { recursive: true, force: true })
  await mkdir(join(draft, ".."), { recursive: true })
  await cp(from, draft, { recursive: true })
  await rm(to, { recursive: true, force: true })
  await cp(draft, to, { recursive: true })
  await rm(draft, { recursive: true })
}
