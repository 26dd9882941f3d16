import type { DifferenceCause } from "./difference-cause.js"

interface Explained {
  /** Completes "they would be identical if …". */
  readonly unless: string
  readonly remedy: string
}

const SWITCHES = "build with SOURCE_DATE_EPOCH, and with the engine's switch that rewrites timestamps"
const VARYING =
  "remove what differs from run to run (clocks, random names, unpinned downloads) from the instruction named"
const COPIED = "COPY files with fixed modes and owners (COPY --chown --chmod), not as the checkout has them"

/** What each cause of a difference means, and what to change. */
export const explainedCauses: Readonly<Record<DifferenceCause, Explained>> = {
  "base-image": {
    unless: "both were built on the same base image",
    remedy: "the base changed between the builds: name it by digest, FROM NAME@sha256:…",
  },
  "layer-count": {
    unless: "both had as many layers",
    remedy: "name the base image by digest, FROM NAME@sha256:…, and build with one engine and the same switches",
  },
  framing: {
    unless: "the layers' archives were written alike",
    remedy: "build with one version of the engine: the entries agree, the archives around them do not",
  },
  compression: {
    unless: "the layers were compressed alike: their contents agree",
    remedy: "compress with one version of the engine, at one level; the contents need no change",
  },
  manifest: {
    unless: "their manifests had the same annotations and types",
    remedy: "give the engine annotations that do not change from build to build",
  },
  type: { unless: "paths were of the same kind in both", remedy: VARYING },
  mode: { unless: "modes agreed", remedy: COPIED },
  owner: { unless: "owners agreed", remedy: COPIED },
  mtime: { unless: "times of modification were the same", remedy: SWITCHES },
  link: { unless: "links led to the same targets", remedy: VARYING },
  xattrs: {
    unless: "extended attributes agreed",
    remedy: "set no extended attributes (setcap, SELinux labels) that differ from run to run",
  },
  order: {
    unless: "entries stood in the same order in the layers",
    remedy: "build with one engine that sorts its layers' entries; if the instruction unpacks an archive, sort that",
  },
  "only-in-first": { unless: "both had the same files", remedy: VARYING },
  "only-in-second": { unless: "both had the same files", remedy: VARYING },
  whiteout: {
    unless: "both deleted the same files of lower layers",
    remedy: "delete nothing that a lower layer brought, or name it exactly: what a pattern matches may differ",
  },
  content: { unless: "those files had the same content", remedy: VARYING },
  "pyc-header": {
    unless: "compiled Python did not hold its source's time of modification",
    remedy:
      "compile Python with `--invalidation-mode unchecked-hash`, or set SOURCE_DATE_EPOCH where pip compiles, or delete __pycache__: a .pyc holds its source's mtime",
  },
  "gzip-header": {
    unless: "gzip files did not hold the time of compression",
    remedy: "compress with `gzip -n`, which leaves the time out",
  },
  "embedded-time": {
    unless: "no date or time was written into files",
    remedy: "write SOURCE_DATE_EPOCH where a date is needed, never the time of the build",
  },
  "random-name": {
    unless: "no random identifiers were written into files",
    remedy: "derive identifiers from the content, or make them when the container starts",
  },
  "private-key": {
    unless: "no key was made while building",
    remedy: "make keys when the container starts: one in an image is everybody's, and is another in every build",
  },
  "pip-record": {
    unless: "the records of pip's installation agreed",
    remedy: "install from wheels pinned by hash (--require-hashes), not from a folder or an sdist built on the way",
  },
  "ldconfig-cache": {
    unless: "ldconfig left no cache",
    remedy: "delete /var/cache/ldconfig/aux-cache in the instruction that installs libraries",
  },
  "package-lists": {
    unless: "the package manager's lists and caches were not kept",
    remedy: "end the RUN that installs with rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf/*-old",
  },
  log: {
    unless: "logs were not kept",
    remedy: "delete logs (/var/log/apt, /var/log/dpkg.log, alternatives.log) in the instruction that makes them",
  },
  cache: {
    unless: "caches were not kept",
    remedy: "keep caches out of the layer: RUN --mount=type=cache, --no-cache-dir, or delete them in the same RUN",
  },
  "tool-history": {
    unless: "programs left no history files",
    remedy: "delete ~/.wget-hsts and the like in the same RUN, or tell the program not to write it",
  },
  temporary: {
    unless: "temporary files were not kept",
    remedy: "delete what is in /tmp, /var/tmp and /run in the instruction that makes it",
  },
  "machine-id": {
    unless: "no machine id was made",
    remedy: "empty /etc/machine-id in the instruction that installs systemd or dbus",
  },
  config: {
    unless: "the configs agreed",
    remedy: "take what differs from run to run out of LABEL, ENV and ARG",
  },
  "created-time": { unless: "the config held a fixed time of creation", remedy: SWITCHES },
  "history-name": {
    unless: "the stages before were built alike: their ids are noted in the image's history",
    remedy: "the stages before differ, or the base changed between the builds: name it by digest, FROM NAME@sha256:…",
  },
}
