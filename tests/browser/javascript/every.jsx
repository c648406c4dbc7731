// Every component of @lunacore/react in one page.
import {
  LunaCoreProvider, SecureCopy, SecureDownload, SecureForm, SecureImage, SecureInput, SecureParagraph, SecureRadio, SecureSelect, SecureSpan,
  SecureTextArea, SecureUpload, SecureViewer,
} from "@lunacore/react";
import { StrictMode } from "react";

export const told = [];

export function Page({ tokenizer, text, file, choice }) {
  const submit = (event) => {
    event.preventDefault();
    told.push(["submit", [...new FormData(event.target).keys()]]);
  };
  const failed = (name) => (error) => told.push(["error", name, error.name]);
  return (
    <StrictMode>
      <LunaCoreProvider tokenizerUrl={tokenizer}>
        <main>
          <h1>Every component</h1>
          <SecureForm onSubmit={submit}>
            <SecureInput name="input" aria-label="Input" onChange={() => told.push(["change", "input"])} errorHandler={failed("input")} />
            <SecureTextArea name="textarea" aria-label="Text area" rows={3} defaultValue={text} errorHandler={failed("textarea")} />
            <SecureSelect name="select" aria-label="Select" options={["yes", { value: "no", label: "No" }]} token={choice} errorHandler={failed("select")} />
            <SecureRadio
              name="radio" aria-label="Radio" orientation="horizontal" onChange={(event) => told.push(["change", "radio", event.target.value !== ""])}
              errorHandler={failed("radio")}
            >
              <option value="1">One</option>
              <option value="2">Two</option>
            </SecureRadio>
            <SecureUpload name="upload" aria-label="Upload" tokens={file ? [file] : []} onTokenChange={(all) => told.push(["tokens", all.length])} errorHandler={failed("upload")} />
            <button>Send</button>
          </SecureForm>
          <SecureParagraph token={text} aria-label="Paragraph" errorHandler={failed("paragraph")} />
          <SecureSpan token={text} reveal="click" aria-label="Span" errorHandler={failed("span")} />
          <SecureCopy token={text} aria-label="Copy" errorHandler={failed("copy")} />
          <SecureDownload token={file} aria-label="Download" errorHandler={failed("download")} />
          <SecureImage token={file} aria-label="Image" errorHandler={failed("image")} />
          <SecureViewer token={file} aria-label="Viewer" errorHandler={failed("viewer")} />
        </main>
      </LunaCoreProvider>
    </StrictMode>
  );
}
