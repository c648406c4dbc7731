// A page with the components of @lunacore/react in the ways in which pages use them. What happens is told in window.told.
import { LunaSecConfigContext, SecureForm, SecureInput, SecureParagraph, SecureSpan } from "@lunacore/react";
import { StrictMode, useRef, useState } from "react";

export const told = [];
const tell = (...what) => told.push(what);

export function Page({ tokenizer, token }) {
  const [open, setOpen] = useState(true);
  const configuration = { lunaSecDomain: tokenizer, authenticationErrorHandler: authenticationFailed };
  return (
    <StrictMode>
      <LunaSecConfigContext.Provider value={configuration}>
        <main>
          <h1>Components</h1>
          {open && <Fields token={token} />}
          <button type="button" onClick={() => setOpen(!open)}>Toggle</button>
        </main>
      </LunaSecConfigContext.Provider>
    </StrictMode>
  );
}

const authenticationFailed = (error) => tell("authentication", error.name);

function Fields({ token }) {
  const [number, setNumber] = useState("");
  const [obeys, setObeys] = useState(true);
  const own = useRef(null);
  function submit(event) {
    event.preventDefault();
    tell("submit", Object.fromEntries(new FormData(event.target)));
  }
  return (
    <SecureForm name="fields" onSubmit={submit}>
      <p>
        <label htmlFor="number">Number</label>
        <SecureInput
          id="number" name="number" className="field" style={{ width: "20em" }} validator="SSN" placeholder="XXX-XX-XXXX" required
          value={number} ref={own}
          onChange={(event) => { tell("change", event.target.value); if (obeys) setNumber(event.target.value); }}
          onFocus={() => tell("focus")} onBlur={() => tell("blur")} onValidate={(valid) => tell("valid", valid)}
          errorHandler={(error) => tell("error", "number", error.name)}
        />
      </p>
      <p>
        <label htmlFor="free">Free</label>
        <SecureInput
          id="free" name="free" type="email" defaultValue={token} disabled={false} aria-describedby="hint"
          onChange={(event) => tell("free", event.detail.token)} errorHandler={(error) => tell("error", "free", error.name)}
        />
        <small id="hint">A hint.</small>
      </p>
      <SecureParagraph token={number || token} aria-label="Shown" errorHandler={(error) => tell("error", "paragraph", error.name)} />
      <p><SecureSpan token={token} className="span" aria-label="Span" errorHandler={(error) => tell("error", "span", error.name)} /></p>
      <output>{number}</output>
      <button>Save</button> <button type="reset">Reset</button>
      <button type="button" onClick={() => setNumber(token)}>Set</button>
      <button type="button" onClick={() => setNumber("")}>Clear</button>
      <button type="button" onClick={() => setObeys(!obeys)}>Obey</button>
      <button type="button" onClick={() => own.current.focus()}>Focus</button>
      <button type="button" onClick={async () => tell("settled", await own.current.settle())}>Settle</button>
    </SecureForm>
  );
}
