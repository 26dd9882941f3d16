import { cp, mkdir, rm } from "node:fs/promises"
import { join } from "node:path"
import {
  buildImageView,
  type Declaration,
  type ImageView,
  type NewMember,
  type StaticEvidence,
  serializeInventory,
} from "@envidence/core"
import { buildImageSbom, inventoriesOf, inventoryImage, type OciLayout, openOciLayout } from "@envidence/oci"
import { digestOf } from "./observe.js"

/** An image read once: what criteria see of it, and its members in the bundle. */
export interface ReadImage {
  readonly layout: OciLayout
  readonly evidence: StaticEvidence
  readonly members: readonly NewMember[]
}

/** One pass over the layers: view, inventories and SBOM. @throws EvidenceError malformed-image, limit-exceeded */
export async function readImage(directory: string, declaration: Declaration, signal: AbortSignal): Promise<ReadImage> {
  const layout = await openOciLayout(directory)
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
