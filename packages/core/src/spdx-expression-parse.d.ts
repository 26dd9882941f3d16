// The package has no types of its own. Only whether it throws is of interest.
declare module "spdx-expression-parse" {
  function parse(source: string): object
  export = parse
}
