require "sinatra/base"

# Each route needs something that the others do not.
class App < Sinatra::Base
  set :environment, :production
  set :host_authorization, {} if respond_to?(:host_authorization)

  get("/") { "hello from sinatra" }

  get("/page") do
    @title = "a page"
    erb :page
  end

  get("/json") do
    require "json"
    { answer: 42 }.to_json
  end

  get("/digest") do
    require "openssl"
    OpenSSL::Digest.new("SHA256").hexdigest("hello")
  end

  get("/yaml") do
    require "yaml"
    { "a" => [1] }.to_yaml
  end

  get("/encode") { "\u00e9".encode("ISO-8859-1").bytes.first.to_s }

  get("/time") do
    require "time"
    Time.at(0).utc.iso8601
  end

  get("/broken") { raise "broken on purpose" }
end
