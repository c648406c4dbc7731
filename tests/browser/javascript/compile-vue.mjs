// Compiles the single-file components of a folder into modules beside them, as Vue's plug-in for Vite does.
import { createRequire } from "node:module";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

const [folder, modules] = process.argv.slice(2);
const { compileScript, parse } = createRequire(`${modules}/`)("@vue/compiler-sfc");
const isCustomElement = (tag) => tag.startsWith("secure-");

for (const name of readdirSync(folder).filter((one) => one.endsWith(".vue"))) {
  const { descriptor, errors } = parse(readFileSync(`${folder}/${name}`, "utf8"), { filename: name });
  if (errors.length > 0) throw errors[0];
  const templateOptions = { compilerOptions: { isCustomElement } };
  const { content } = compileScript(descriptor, { id: name, inlineTemplate: true, templateOptions });
  writeFileSync(`${folder}/${name}.js`, content.replaceAll(/(from\s+"\.\/\w+\.vue)"/g, '$1.js"'));
}
