// What TypeScript knows of the components for React, and of the elements in JSX.
import { LunaCoreProvider, LunaSecConfigContext, SecureForm, SecureInput, SecureSelect, SecureSpan, SecureUpload, type LunaSecError } from "@lunacore/react";
import type {} from "@lunacore/elements/react";
import { useRef, type ComponentProps } from "react";

const props: ComponentProps<typeof SecureInput> = {
  id: "ssn-token-input",
  name: "ssn",
  type: "ssn",
  validator: "SSN",
  onValidate: (isValid: boolean) => isValid,
  token: undefined,
  placeholder: "XXX-XX-XXXX",
  onChange: (event) => event.target.value.length,
  errorHandler: (error) => error.message,
};

export function Page({ tokens }: { tokens: string[] }) {
  const field = useRef<HTMLElementTagNameMap["secure-input"]>(null);
  const wrong = useRef<HTMLInputElement>(null);
  return (
    <LunaCoreProvider tokenizerUrl="https://secure.example.com" authenticationErrorHandler={(error: LunaSecError) => error.name}>
      <LunaSecConfigContext.Provider value={{ lunaSecDomain: "https://secure.example.com", authenticationErrorHandler: (error: Error) => console.log(error) }}>
        <SecureForm name="form" onSubmit={(event) => event.preventDefault()}>
          <SecureInput {...props} ref={field} value={null} onChange={(event) => event.detail.token} />
          {/* @ts-expect-error - the element is no <input> */}
          <SecureInput name="ssn" ref={wrong} />
          {/* @ts-expect-error - unknown validator */}
          <SecureInput name="ssn" validator="luhn" />
          {/* @ts-expect-error - a value is a token, a string */}
          <SecureInput name="ssn" value={1} />
          <SecureSelect name="answer" options={["yes", { value: "no", label: "No" }]} />
          <SecureUpload name="files" filetokens={tokens} maxSize="10MB" onTokenChange={(all: string[]) => all.length} />
          <SecureSpan token={tokens[0]} reveal="click" />
          {/* @ts-expect-error - what is shown has no value */}
          <SecureSpan value="lunasec-" />
          <secure-input name="card" validator="card" required />
          {/* @ts-expect-error - unknown validator */}
          <secure-input validator="luhn" />
        </SecureForm>
      </LunaSecConfigContext.Provider>
    </LunaCoreProvider>
  );
}
